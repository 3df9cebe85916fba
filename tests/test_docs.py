"What the documentation promises: no broken link, no request, the same commands in both languages, figures that agree."
import ast, importlib.util, json, os, re, shlex, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location('build', ROOT/'docs/build.py')
build = importlib.util.module_from_spec(spec); spec.loader.exec_module(build)
slow = pytest.mark.skipif(not os.environ.get('RSQI_SLOW'), reason='a minute or two of processor; make slow')

def text(name): return (ROOT/name).read_text(encoding='utf-8')
def markdown(path):
    "The Markdown of a page or of a notebook."
    if path.suffix=='.md': return path.read_text(encoding='utf-8')
    return '\n\n'.join(''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type']=='markdown')

PROSE = [p for p in build.sources([*build.PAGES, *build.BOOKS]) if p.suffix in ('.md','.ipynb')]

def anchors(path): return {re.sub(r'[^\w\- ]', '', h.lower()).strip().replace(' ', '-') for h in re.findall(r'^#+ (.+)$', markdown(path), re.M)}

@pytest.mark.parametrize('path', PROSE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    prose = re.sub(r'```.*?```|`[^`\n]*`', '', markdown(path), flags=re.S)
    for label,target,anchor in build.LINK.findall(prose)+[('', t, '') for t in re.findall(r'!\[[^\]]*\]\(([^)\s]+)\)', prose)]:
        if re.match(r'\w+:', target): continue
        file = (path.parent/unquote(target)).resolve()
        assert file.exists(), f'[{label}]({target})'
        if anchor and file.suffix=='.md': assert anchor[1:] in anchors(file), f'[{label}]({target}{anchor})'

# -- two languages -----------------------------------------------------------------------------------------------------
def commands(page):
    "Every command in the code blocks of a page, without comments and without what is asked in words."
    lines = [l for block in re.findall(r'^```\w*\n(.*?)^```', text(page), re.M|re.S) for l in block.splitlines()]
    found = [l.split('#')[0].strip() for l in lines if re.match(r'(rsqi|make|py) |\.venv', l)]
    return {re.sub(r'"[^"]*"', '""', l) for l in found}

def test_both_readmes_name_the_same_commands():
    there, here = commands('README.md'), commands('README.zh.md')
    verbs = lambda found: {tuple(l.split()[:3] if l.split()[1] in ('model','dataset','train') else l.split()[:2]) for l in found}
    assert verbs(there)==verbs(here), verbs(there)^verbs(here)
    assert here<=there|{'rsqi ask scene.rsqi ""'} and len(here)>=.8*len(there), here-there

def test_commands_exist():
    "What the pages tell a reader to type is understood by the command line: every word, option and choice of it."
    import shlex
    from rsqi.cli import Usage, parser
    top, seen = parser(), 0
    for page in 'README.md', 'README.zh.md', 'docs/index.md', 'docs/zh.md', *(f'nbs/{p}' for p in ('tutorials/12_hundred_scenes.ipynb', 'tutorials/13_correcting_and_retraining.ipynb')):
        for line in commands(page) if page.endswith('.md') else re.findall(r'^    (rsqi [^#\n]+)', markdown(ROOT/page), re.M):
            words = shlex.split(line)
            if words[0]=='make': assert re.search(rf'^{words[1]}:', text('Makefile'), re.M), line
            if words[0]!='rsqi' or '--help' in words: continue
            try: _, unknown = top.parse_known_args(words[1:])
            except Usage as e: pytest.fail(f'{page}: {line}: {e}')
            assert not unknown, (page, line, unknown)
            seen += 1
    assert seen>60

def test_figures_agree():
    "The figures of the default model are told in several places; all tell the same."
    for figure in '0.929', '[0.893, 0.957]', '0.776', '[0.713, 0.836]':
        places = 'README.md', 'README.zh.md', 'rsqi/models/default/README.md', 'docs/paper.md'
        assert all(figure in text(p) for p in places), (figure, [p for p in places if figure not in text(p)])
    for p in 'README.md', 'README.zh.md', 'rsqi/models/default/README.md': assert '0.915 [0.896, 0.931]' in text(p), p # of the larger draw
    assert '0.929 [0.893, 0.957]' in markdown(ROOT/'nbs/tutorials/04_classification.ipynb')
    assert '0.776 [0.713, 0.836]' in markdown(ROOT/'nbs/tutorials/05_segmentation.ipynb')

def test_every_part_of_the_paper_has_its_place():
    told = markdown(ROOT/'docs/paper.md')
    for part in [f'Eq. {n}' for n in (1,2,3)]+[f'Table {n}' for n in range(1,9)]+[f'Figure {n}' for n in (1,3,5,6,7)]+['Figures 2 and 4','Tables A1','Tables B1-B3','Figure B1','Table C1']:
        assert part in told, part

def test_the_workflow_runs_what_ci_runs():
    assert '.ci/run' in text('.github/workflows/ci.yml') and 'make test' in text('.ci/run')

# -- tutorials ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', build.sources(['nbs/tutorials/*.ipynb']), ids=lambda p: p.stem)
def test_tutorials_keep_their_form(path):
    "Each says what one will be able to do, and ends with exercises whose solutions are checked."
    nb = json.loads(path.read_text(encoding='utf-8'))
    prose, code = markdown(path), ['\n'.join(c['source']) for c in nb['cells'] if c['cell_type']=='code']
    assert '**You will be able to**' in ''.join(nb['cells'][0]['source']) and 'paper' in prose
    asked = len(re.findall(r'^\d\. ', prose.split('## Exercises')[1], re.M))
    solved = [c for c in code if c.startswith('# Solution')]
    assert asked==len(solved)>=3 and all(re.search(r'\bassert |test_(eq|close)\(', c) for c in solved)
    assert not any(c.get('outputs') for c in nb['cells'])

# -- API pages ---------------------------------------------------------------------------------------------------------
def test_api_pages_tell_what_the_code_tells():
    page = build.api_page(ROOT/'rsqi/fusion.py')
    assert 'fuse(seg, cls, alpha, t, t_space=\'prob\')' in page and '(B,7,h,w) logits; channel 0 is background' in page and 'Returns (B,7,h,w)' in page
    block = build.api_page(ROOT/'rsqi/grid.py')
    assert '|`size`|`int`|`512`|Block edge, pixels|' in block and 'Grid' in block

def test_every_public_name_has_a_place():
    for path in (ROOT/'rsqi').glob('[a-z]*.py'):
        page, code = build.api_page(path) or '', path.read_text(encoding='utf-8')
        for n in ast.parse(code).body:
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and re.search(rf"__all__ = .*'{n.name}'", code.split('# %%')[1], re.S): assert f'## {n.name}' in page, (path.name, n.name)

def test_hidden_cells_stay_hidden():
    cell = lambda source: dict(cell_type='code', source=source, outputs=[])
    assert build.shown(cell('#| hide\nimport x')) is None and build.shown(cell('#| default_exp a')) is None
    assert build.shown(cell('#| export\nx = 1'))['source']=='x = 1'

# -- the site ----------------------------------------------------------------------------------------------------------
class Seen(HTMLParser):
    "Addresses and anchors of a page."
    def __init__(self, html): super().__init__(); self.links, self.fetched, self.ids = [], [], set(); self.feed(html)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {v for k,v in a.items() if k in ('id','name') and v}
        if tag=='a' and a.get('href'): self.links.append(a['href'])
        if a.get('src') or tag=='link' and a.get('href'): self.fetched.append(a.get('src') or a['href'])

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, as `make docs` builds it but for the outputs of tutorials, with the network refused."
    given = os.environ.get('RSQI_SITE')
    if given: return Path(given)
    home = tmp_path_factory.mktemp('site')
    (home/'sitecustomize.py').write_text('import socket\ndef refuse(*a, **k): raise SystemExit("somebody asked the network")\n'
                                         'socket.create_connection = socket.getaddrinfo = refuse\n')
    env = os.environ | dict(PYTHONPATH=f'{home}{os.pathsep}{ROOT}')
    done = subprocess.run([sys.executable, ROOT/'docs/build.py', '--no-execute', '--out', home/'out'], capture_output=True, text=True, env=env)
    assert done.returncode==0 and 'WARNING' not in done.stderr, done.stderr[-3000:]
    return home/'out/html'

@slow
def test_site_has_no_broken_link_and_fetches_nothing(site):
    pages = {p.resolve(): Seen(p.read_text(encoding='utf-8')) for p in site.rglob('*.html')}
    assert len(pages)>150
    for page,seen in pages.items():
        for address in seen.fetched: assert not re.match(r'(https?:)?//', address), (page, address)
        for address in seen.links:
            if re.match(r'\w+:', address): continue
            path, _, anchor = unquote(address).partition('#')
            file = (page.parent/path).resolve() if path else page
            assert file.exists(), (page.name, address)
            if anchor and file in pages: assert anchor in pages[file].ids, (page.relative_to(site.resolve()), address)

@slow
@pytest.mark.browser
def test_site_in_a_browser(site, tmp_path):
    "Home, a tutorial with formulas, an API page, the Chinese page; search finds; nobody is asked for anything."
    import shutil
    chromium = next((w for w in map(shutil.which, ('chromium','chromium-browser')) if w), None)
    if not chromium: pytest.skip('no Chromium')
    from playwright.sync_api import sync_playwright
    asked, errors, shots = [], [], Path(os.environ.get('RSQI_SHOTS', tmp_path))
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox','--disable-gpu','--host-resolver-rules=MAP * ~NOTFOUND'])
        tab = browser.new_page(viewport=dict(width=1280, height=900))
        tab.on('request', lambda r: r.url.startswith(('file:','data:','blob:')) or asked.append(r.url))
        tab.on('pageerror', lambda e: errors.append(str(e)))
        for name in 'docs/index', 'nbs/tutorials/06_equation_3', 'api/fusion', 'docs/zh', 'glossary', 'gallery', 'docs/architecture':
            tab.goto((site/f'{name}.html').as_uri())
            if 'equation' in name: tab.wait_for_selector('mjx-container svg', timeout=30_000)
            tab.screenshot(path=shots/f"{name.replace('/','_')}.png")
        for query in 'polygons', '拉花', 'stripe':
            tab.goto((site/'search.html').as_uri()+f'?q={query}')
            tab.wait_for_selector('ul.search li a', timeout=30_000)
        browser.close()
    assert not asked and not errors, (asked, errors)
