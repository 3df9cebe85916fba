"""Build the documentation site from the notebooks, with no network: `python docs/build.py` (or `make docs`).

Pages are staged in `_docs/source` (executed, without hidden cells, links kept), then Sphinx makes `_docs/html` of them.
Nothing here knows a chapter by name: what lies in `nbs/`, `docs/` and the table of defects becomes the site.
"""
import argparse, ast, base64, hashlib, json, os, re, shutil, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT   = Path(__file__).resolve().parent.parent
PAGES  = 'README.md', 'README.zh.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'docs/*.md', 'docs/decisions/*.md', 'docs/*.jpg', 'rsqi/models/*/README.md', \
         'data_samples/README.md'
BOOKS  = 'nbs/*.ipynb', 'nbs/tutorials/*.ipynb', 'nbs/howto/*.ipynb', 'nbs/results/*.ipynb', 'nbs/reports/*.ipynb', 'nbs/explore/*.ipynb'
RUN    = 'tutorials', 'howto' # Folders whose notebooks are executed; the others show code, and the outputs that they keep
WORDS  = ROOT/'docs/words.tsv' # A link to it is one to the glossary here
WIDGET = 'application/vnd.jupyter.widget-view+json'

def sources(patterns): return sorted(p for pattern in patterns for p in ROOT.glob(pattern))

# -- notebooks ---------------------------------------------------------------------------------------------------------
def key_of(path):
    "Return what an executed notebook depends on: itself, and the package."
    parts = [path, *sorted((ROOT/'rsqi').rglob('*.py')), *sorted((ROOT/'rsqi').rglob('*.toml'))]
    return hashlib.sha256(b''.join(p.read_bytes() for p in parts)).hexdigest()[:24]

def executed(
    path,  # Of a notebook
    cache, # Folder where executed ones are kept
): # The notebook with its outputs
    "Execute a notebook where it lies, or return what is known of it."
    import nbformat
    from nbclient import NotebookClient
    kept = cache/f'{path.stem}-{key_of(path)}.ipynb'
    if kept.exists(): return nbformat.read(kept, 4)
    nb = nbformat.read(path, 4)
    NotebookClient(nb, timeout=600, kernel_name='python3', resources=dict(metadata=dict(path=str(path.parent)))).execute(
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob(f'{path.stem}-*.ipynb'): old.unlink()
    nbformat.write(nb, kept)
    return nb

def shown(cell):
    "Return a cell as the site shows it; None where it is hidden."
    source = ''.join(cell['source'])
    if cell['cell_type']=='code' and re.search(r'^#\|\s*(hide|default_exp)\b', source, re.M): return None
    cell = dict(cell, source=re.sub(r'^#\|.*\n?', '', source, flags=re.M))
    for i,out in enumerate(cell.get('outputs', [])):
        if WIDGET in out.get('data', {}): cell['outputs'][i] = dict(out, data={'text/markdown': '*Here Jupyter shows a slider.*'})
    if cell['cell_type']=='code': cell['outputs'] = [o for o in cell['outputs'] if o.get('name')!='stderr']
    return cell

def page_of(path, nb):
    "Return a notebook as Sphinx gets it; a page has a title, and a report notebook has none of its own."
    nb = json.loads(json.dumps(nb))
    nb['cells'] = [c for c in map(shown, nb['cells']) if c and c['source'].strip()]
    if not any(c['source'].startswith('# ') for c in nb['cells'] if c['cell_type']=='markdown'):
        nb['cells'].insert(0, dict(cell_type='markdown', id='title', metadata={}, source=f'# {path.parent.name}/{path.name}'))
    nb['metadata'] = dict(kernelspec=dict(name='python3', display_name='python3', language='python'),
                          language_info=dict(name='python', pygments_lexer='ipython3'))
    return nb

def pictures(nb):
    "Yield the pictures in a notebook's outputs as (suffix, bytes)."
    for out in (o for c in nb['cells'] for o in c.get('outputs', [])):
        for kind,suffix in ('image/jpeg','jpg'), ('image/png','png'):
            if kind in out.get('data', {}): yield suffix, base64.b64decode(''.join(out['data'][kind])); break

# -- generated pages ---------------------------------------------------------------------------------------------------
def comment(line): return line.split('#', 1)[1].strip() if '#' in line else ''
def cell_text(text): return str(text).replace('|', '\\|').replace('\n', ' ')

def parameters(node, lines):
    "Return the rows (name, default, comment) of a function's parameters, and the comment on what it returns."
    args, a = [], node.args
    plain = [*a.posonlyargs, *a.args]
    default = dict(zip([p.arg for p in plain[::-1]], a.defaults[::-1])) | {p.arg: d for p,d in zip(a.kwonlyargs, a.kw_defaults) if d}
    every = [*plain, *a.kwonlyargs]
    for p,after in zip(every, [*every[1:], None]):
        last = after is None or after.lineno!=p.lineno
        told = comment(lines[p.end_lineno-1]) if last and p.lineno>node.lineno else ''
        if p.arg!='self': args.append((p.arg, ast.unparse(default[p.arg]) if p.arg in default else '', told))
    head = lines[node.body[0].lineno-2] if node.body[0].lineno>node.lineno+1 else ''
    return args, comment(head) if head.lstrip().startswith('):') else ''

def described(node, lines, name=None):
    "Return the Markdown of a function."
    rows, back = parameters(node, lines)
    call = f"{name or node.name}({', '.join(a+'='*bool(d)+d for a,d,_ in rows)})"
    text = [f'```python\n{call}\n```', ast.get_docstring(node) or '']
    if any(told for *_,told in rows): text.append('|parameter|default|what it is|\n|---|---|---|\n'+'\n'.join(f'|`{a}`|{f"`{d}`" if d else ""}|{cell_text(t)}|' for a,d,t in rows))
    if back: text.append(f'Returns {back}')
    return '\n\n'.join(text)

def described_class(node, lines):
    "Return the Markdown of a class: its fields and its public methods."
    fields = [(f.target.id, ast.unparse(f.annotation), ast.unparse(f.value) if f.value else '', comment(lines[f.lineno-1]))
              for f in node.body if isinstance(f, ast.AnnAssign)]
    text = [ast.get_docstring(node) or '']
    if fields: text.append('|field|type|default|what it is|\n|---|---|---|---|\n'+'\n'.join(f'|`{n}`|`{t}`|{f"`{d}`" if d else ""}|{cell_text(c)}|' for n,t,d,c in fields))
    for m in node.body:
        if isinstance(m, ast.FunctionDef) and not m.name.startswith('_'): text.append(described(m, lines, f'{node.name}.{m.name}'))
    return '\n\n'.join(text)

def api_page(path):
    "Return the title and the Markdown of a module's page; None where nothing in it is public."
    code = path.read_text(encoding='utf-8')
    tree, lines = ast.parse(code), code.splitlines()
    public = next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '')=='__all__'), ())
    chapter = re.search(r'File to edit: \.\./(nbs/\S+\.ipynb)', code)
    made = []
    for n in tree.body:
        if getattr(n, 'name', None) not in public: continue
        made.append(f'## {n.name}\n\n'+(described if isinstance(n, ast.FunctionDef) else described_class)(n, lines))
    if not made or not chapter: return None
    head = f'# rsqi.{path.stem}\n\n{ast.get_docstring(tree) or ""}\n\nThe chapter that explains it: [{Path(chapter[1]).stem}](../{chapter[1]})'
    return '\n\n'.join([head, *made])

def glossary():
    "Return the page of words in two languages: the defects, and the nouns of the package."
    import tomllib
    rows = tomllib.loads((ROOT/'rsqi/defects.toml').read_text(encoding='utf-8'))['defect']
    told = '\n\n'.join(f"### {i} {d['en']} {d['zh']}\n\n{d['definition_en']}\n\n{d['definition_zh']}\n\n`{d['key']}` · {d['family']} · {', '.join(d['aliases'])}"
                       for i,d in enumerate(rows, 1))
    words = WORDS.read_text(encoding='utf-8').strip().splitlines()
    nouns = '\n'.join('|'+'|'.join(w.split('\t'))+'|' for w in words)
    return ('# Glossary 词汇\n\nThe ten defects, as the table of the package has them ([taxonomy](nbs/01_taxonomy.ipynb)).\n\n'
            '## Defects\n\n'+told+
            '\n\n## Words of the package\n\n|English|中文|what it is|\n|---|---|---|\n'+nouns+'\n')

def gallery(stage, books):
    "Return the page of pictures: the first of every executed notebook that has one."
    made = []
    (stage/'gallery').mkdir(exist_ok=True)
    for path,nb in sorted(books, key=lambda b: b[0].parent.name!='tutorials'): # tutorials first
        found = next(pictures(nb), None)
        if not found: continue
        name = f'{path.stem}.{found[0]}'
        (stage/'gallery'/name).write_bytes(found[1])
        title = next(l[2:] for c in nb['cells'] for l in ''.join(c['source']).splitlines() if l.startswith('# '))
        made.append(f'### [{title}]({path.relative_to(ROOT).as_posix()})\n\n[![{title}](gallery/{name})]({path.relative_to(ROOT).as_posix()})')
    return '# Gallery\n\nPictures from the pages; each leads to the notebook that drew it.\n\n'+'\n\n'.join(made)+'\n'

# -- staging -----------------------------------------------------------------------------------------------------------
LINK = re.compile(r'(?<!\!)\[([^\]\n]*)\]\(([^)\s#]+)(#[^)\s]*)?\)')

def settled(text, at, stage):
    "Return Markdown whose links to folders are words, and copy the files it links to."
    def settle(m):
        target = m[2]
        if re.match(r'\w+:', target): return m[0]
        file = (at.parent/target).resolve()
        if file==WORDS: return f"[{m[1]}]({Path(os.path.relpath(ROOT/'glossary.md', at.parent)).as_posix()})"
        if not file.is_relative_to(ROOT) or not file.exists() or file.is_dir(): return m[1]
        there = stage/file.relative_to(ROOT)
        if file.suffix not in ('.md','.ipynb') and not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True); shutil.copy(file, there)
        return m[0]
    return LINK.sub(settle, text)

def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')

def stage_books(stage, cache, execute):
    "Stage all notebooks; return (path, notebook) of each."
    paths = sources(BOOKS)
    due = [p for p in paths if execute and p.parent.name in RUN]
    os.environ['MPLBACKEND'] = 'module://matplotlib_inline.backend_inline'
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH','')])
    with ThreadPoolExecutor(2) as pool: ran = dict(zip(due, pool.map(lambda p: executed(p, cache), due)))
    books = [(p, page_of(p, ran.get(p) or json.loads(p.read_text(encoding='utf-8')))) for p in paths]
    for path,nb in books:
        for c in nb['cells']:
            if c['cell_type']=='markdown': c['source'] = settled(c['source'], path, stage)
        put(stage/path.relative_to(ROOT), json.dumps(nb, ensure_ascii=False))
    return books

def stage_all(stage, cache, execute):
    "Write everything that Sphinx needs."
    import mathjax
    shutil.rmtree(stage, ignore_errors=True)
    books = stage_books(stage, cache, execute)
    for path in sources(PAGES):
        if path.suffix=='.md': put(stage/path.relative_to(ROOT), settled(path.read_text(encoding='utf-8'), path, stage))
        else: (stage/path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True); shutil.copy(path, stage/path.relative_to(ROOT))
    for path in sorted((ROOT/'rsqi').glob('[a-z]*.py')):
        page = api_page(path)
        if page: put(stage/'api'/f'{path.stem}.md', page)
    with open(stage/'docs/index.md', 'a', encoding='utf-8') as f: f.write('\n'+(ROOT/'docs/contents.txt').read_text(encoding='utf-8'))
    put(stage/'glossary.md', glossary())
    put(stage/'gallery.md', gallery(stage, books))
    put(stage/'conf.py', (ROOT/'docs/conf.py').read_text(encoding='utf-8'))
    (stage/'_static').mkdir(exist_ok=True)
    shutil.copy(Path(mathjax.__file__).parent/'static/mathjax/es5/tex-svg.js', stage/'_static')

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=ROOT/'_docs')
    parser.add_argument('--no-execute', action='store_true', help='show tutorials without their outputs')
    args = parser.parse_args()
    stage_all(args.out/'source', args.out/'executed', not args.no_execute)
    command = [sys.executable, '-m', 'sphinx', '-q', '-j', '2', '-b', 'html', '-d', args.out/'doctrees', args.out/'source', args.out/'html']
    status = subprocess.run(list(map(str, command))).returncode
    put(args.out/'html/index.html', '<!DOCTYPE html><meta charset="utf-8"><title>rsqi</title><meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">rsqi</a>')
    if not status: print(f'{args.out}/html/index.html')
    sys.exit(status)

if __name__=='__main__': main()
