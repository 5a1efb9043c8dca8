"""The line as static pages: champion, timeline, nights, forgetting, cost. Read-only, no script, nothing from outside.

    site = Site(registry)                                      # from everlearn.site.pages
    site.build(Path("public"))                                 # all pages as files, swapped in whole
    site.page("index.html", look=site.reader.look())           # one page, made when somebody asks for it

    look.py       what is true of the line now, and what each night left behind
    pictures.py   the charts, as inline SVG
    overview.py   the first page, from a look and its nights
    pages.py      which pages there are, and their bytes
    server.py     the same over HTTP on loopback; local.py starts it beside the other local servers

Leaves out: writing anything, and any line but one.
"""
