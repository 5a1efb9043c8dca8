"""The line as static pages: champion, timeline, nights, forgetting, cost. Read-only, without scripts.

    site = Site(registry)                                      # from everlearn.reporting.site.pages
    site.build(Path("public"))                                 # all pages as files, swapped in whole
    site.page("index.html", snapshot=site.reader.snapshot())           # one page, made on request

`read_model` reads the state of the line and what each night left, `history_charts` draws the charts as inline SVG,
`overview` is the first page, `pages` lists all pages, `server` serves them over HTTP on loopback.
Shows one line only. May import `reporting` and below.
"""
