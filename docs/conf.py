"Sphinx reads this beside the pages that `docs/build.py` stages. Nothing on the site asks a network for anything."
project, author, copyright = 'rsqi', 'rsqi authors', '2026 onwards, rsqi authors'
extensions = ['myst_nb']
root_doc = 'docs/index'
myst_enable_extensions = ['dollarmath', 'amsmath']
myst_heading_anchors = 3
nb_execution_mode = 'off'  # `docs/build.py` has executed what is to be executed
nb_ipywidgets_js = {}      # would ask a content network
nb_merge_streams = True
mathjax_path = 'tex-svg.js'
html_theme = 'furo'
html_title = 'rsqi'
html_static_path = ['_static']
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False # a page from a disk may not fetch another
html_last_updated_fmt = ''
suppress_warnings = ['myst.xref_missing', 'myst.header', 'misc.highlighting_failure', 'mystnb.unknown_mime_type']
