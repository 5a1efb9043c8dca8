"""The site of one line as static pages: champion, timeline, nights, forgetting, cost. Read-only, without scripts.

    site = Site(registry)                                      # everlearn.reporting.site.pages
    site.build(Path("public"))                                 # all pages as files, replaced as a whole
    site.page("index.html", snapshot=site.reader.snapshot())   # one page

`read_model` reads the line and its nights, `history_charts` draws the charts, `overview` is the first page, `pages`
renders all pages, `http_server` serves them on loopback. May import `reporting` and below.
"""
