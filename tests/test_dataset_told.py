"What a builder of datasets is told: grounds without coordinates, layers set aside, folders of another kind."
import json
from types import SimpleNamespace
import cv2, geopandas as gpd, numpy as np, pyogrio, pytest, rasterio, shapely
import pyarrow as pa, pyarrow.parquet as pq
from rsqi.archive import SHELVED, SUFFIXES, Reading, read_layer
from rsqi.cli import main, parser
from rsqi.dataset import build_dataset, find_tables, read_dataset
from rsqi.progress import track
from rsqi.refusals import Refused
from rsqi.selection import RASTERS, Recipe
from test_dataset import EVERYTHING, SAMPLES, files_of, ground, layer, place, refused, scene, shelf

def bare(path, image):
    "Write an image (3,h,w) u8 without coordinates, and a cloud on it in a layer beside."
    path.parent.mkdir(parents=True, exist_ok=True)
    scene(path, *image.shape[1:], crs=None)
    with rasterio.open(path, 'r+') as f: f.write(image)
    layer(path.with_suffix('.shp'), [shapely.box(20,-200,300,-20)], ['云'], crs=None, to=None)
    return path

def sample(name, y=0, x=0):
    with rasterio.open(SAMPLES/f'{name}.tif') as f: return f.read(window=((y,y+512),(x,x+512)))

def of_scenes(made, field): return {s['name']: s[field] for s in made.manifest['scenes']}

def test_twins_without_coordinates_are_on_one_side(tmp_path):
    "A clean scene, its defective twin and a smaller copy are one ground; other ground is another"
    clean, hurt = sample('clean', 300, 300), sample('defective', 300, 300)
    assert (clean!=hurt).any(0).mean()>.02
    small = np.stack([cv2.resize(b, (300,300), interpolation=cv2.INTER_AREA) for b in clean])
    shown = dict(clean=clean, hurt=hurt, small=small, turned=clean[:,::-1,::-1], other=sample('clean', 1000, 1000))
    for name,image in shown.items(): bare(tmp_path/'in'/f'{name}.tif', image)
    made = build_dataset([tmp_path/'in'], tmp_path/'in', tmp_path/'out', Recipe(sizes=(128,), test=.4, clean=1))
    of, side = of_scenes(made, 'ground'), of_scenes(made, 'split')
    assert of['clean.tif']==of['hurt.tif']==of['small.tif'] and len({*of.values()})==3
    assert len({side[f'{n}.tif'] for n in ('clean','hurt','small')})==1 and {*side.values()}=={'train','test'}
    assert any(n.startswith('5 scenes have no coordinates') and 'cut-out' in n for n in made.manifest['notes'])

def test_a_placed_scene_and_its_twin_without_coordinates(tmp_path):
    "The same ground, whether or not a file says where it is"
    scene(tmp_path/'in'/'placed.tif', 512, 512)
    with rasterio.open(tmp_path/'in'/'placed.tif', 'r+') as f: f.write(sample('clean'))
    layer(tmp_path/'in'/'placed.shp', [ground(shapely.box(20,20,300,200))], ['云'])
    bare(tmp_path/'in'/'bare.tif', sample('defective'))
    bare(tmp_path/'in'/'far.tif', sample('clean', 900, 0))
    made = build_dataset([tmp_path/'in'], tmp_path/'in', tmp_path/'out', Recipe(sizes=(128,), test=.4, clean=1))
    of = of_scenes(made, 'ground')
    assert of['placed.tif']==of['bare.tif']!=of['far.tif']
    assert any(n.startswith('2 scenes have no coordinates') for n in made.manifest['notes'])

def test_pictures_too_plain_to_compare_are_told_of(tmp_path):
    for i in range(2): bare(tmp_path/'in'/f'{i}.tif', np.full((3,256,256), 90+i, np.uint8))
    made = build_dataset([tmp_path/'in'], tmp_path/'in', tmp_path/'out', Recipe(sizes=(128,), test=.5, clean=1))
    assert any('2 of them too plain' in n for n in made.manifest['notes'])

def test_a_shapefile_without_dbf_is_named(shelf, capsys, tmp_path):
    "In a folder of labels under another name, and as the scene's own"
    for suffix in '.dbf', '.shx': (shelf/'a'/f'a{suffix}').unlink()
    said = refused(capsys, shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'out')
    assert f"{shelf/'a'/'a.shp'}: its .dbf" in said
    assert len(read_layer(shelf/'a'/'a.shp').geometry)==2  # outlines alone are still of use, as an area of interest
    scene(tmp_path/'b'/'b.tif')
    (tmp_path/'lab').mkdir()
    (shelf/'a'/'a.shp').rename(tmp_path/'lab'/'x.shp')
    layer(tmp_path/'lab'/'far.gpkg', [ground(shapely.box(9000,0,9050,50))], ['云'])
    trees = gpd.GeoDataFrame(dict(height=[3.]), geometry=[ground(shapely.box(0,0,50,50))], crs=32648)
    pyogrio.write_dataframe(trees, tmp_path/'lab'/'trees.gpkg')
    said = refused(capsys, tmp_path/'b'/'b.tif', '--labels', tmp_path/'lab', '--out', tmp_path/'out')
    assert 'x.shp: its .dbf' in said and 'far.gpkg: it lies elsewhere' in said
    assert 'trees.gpkg: no field holds error types (it has height)' in said
    recipe = Recipe(sizes=(64,), unlabelled='clean', **EVERYTHING)
    made = build_dataset([tmp_path/'b'], tmp_path/'lab', tmp_path/'out', recipe)
    told = {p['file']: p['what'] for p in made.manifest['problems']}
    assert '.dbf' in told['x.shp'] and 'height' in told['trees.gpkg'] and str(tmp_path) not in json.dumps(made.manifest)

def said_of(capsys, *argv):
    "Return the one line that `rsqi dataset` refuses with."
    assert main(['dataset', *map(str, argv)])==2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines())==1
    return err

@pytest.mark.parametrize('task', ['audit','pairs'])
def test_a_folder_of_another_kind_is_named(shelf, capsys, tmp_path_factory, task):
    more = ['--out', tmp_path_factory.mktemp('o')/'p.jsonl'] if task=='pairs' else ['--model','none','--quiet']
    say = lambda dir: said_of(capsys, task, dir, *more)
    (shelf/'a'/'simulation.json').write_text(json.dumps(dict(seed=1, patches=[1]), indent=1))
    for told in say(shelf/'a'), say(shelf):
        assert 'holds scenes' in told and f'rsqi dataset build {shelf}' in told and 'json:' not in told
    (shelf/'a'/'prices.json').write_text('[{"price": 3}]')
    assert 'rsqi dataset build' in (told := say(shelf/'a')) and 'prices.json: no column of images' in told
    (shelf/'i').mkdir(); (shelf/'i'/'inspection.json').write_text('{}')
    pq.write_table(pa.table(dict(size=[512], y=[0])), shelf/'i'/'blocks.parquet')
    assert f"rsqi report {shelf/'i'}" in say(shelf/'i')
    with pytest.raises(Refused, match='holds scenes'): find_tables(shelf/'a')

def test_one_bad_table_of_two_is_not_passed_over(tmp_path):
    (tmp_path/'train.json').write_text('[{"image": "x.png"}]')
    (tmp_path/'test.json').write_text('[{"image": ')
    with pytest.raises(Refused, match='test.json: cannot be read'): list(read_dataset(tmp_path))

def build(shelf, *more):
    words = 'dataset', 'build', shelf/'a', '--labels', shelf/'a', '--size', '64', '--out', shelf/'out', '--quiet', *more
    return main([*map(str, words)])

def test_nothing_of_ours_stops_a_rebuild(shelf, capsys):
    "Questions and pages are kept out of the dataset, however it is named, but for pages of audits"
    out, table = shelf/'out', shelf/'out'/'data'/'train-00000.parquet'
    assert build(shelf)==0
    for dir in out, out/'data', table:
        for place in out, out/'data':
            assert 'inside the dataset' in said_of(capsys, 'pairs', dir, '--out', place/'p.jsonl')
        said = said_of(capsys, 'audit', dir, '--model', 'none', '--out', out/'page.html', '--quiet')
        assert 'inside the dataset' in said
    assert 'inside the dataset' in said_of(capsys, 'pairs', shelf/'nothing', '--out', out/'data'/'p.jsonl')
    before = files_of(out)
    for dir in out, out/'data', table: assert main(['dataset','audit',str(dir),'--model','none','--quiet'])==0
    pages = {*files_of(out)}-{*before}
    assert pages=={'audit.html','data/audit.html','data/train-00000.parquet-audit.html'}
    assert [t.name for t in find_tables(out)]==['train-00000.parquet']
    assert build(shelf, '--overwrite')==0 and files_of(out)==before

def test_the_page_of_a_table_is_named_after_it(shelf, capsys):
    "Two tables side by side have two pages, and help says so"
    assert build(shelf)==0
    table = shelf/'out'/'data'/'train-00000.parquet'
    for name in 'train.parquet', 'test.parquet': (shelf/name).write_bytes(table.read_bytes())
    capsys.readouterr()
    for name in 'train.parquet', 'test.parquet':
        assert main(['dataset','audit',str(shelf/name),'--model','none','--quiet','--json'])==0
        assert json.loads(capsys.readouterr().out)['page']==str(shelf/f'{name}-audit.html')
    assert not (shelf/'audit.html').exists() and (shelf/'train.parquet-audit.html').exists()
    assert '-audit.html' in helps(capsys, 'audit')

def helps(capsys, task):
    with pytest.raises(SystemExit): parser().parse_args(['dataset', task, '--help'])
    return ' '.join(capsys.readouterr().out.split())

def test_help_tells_the_exit_status(capsys):
    assert 'status: 0 audited, whatever was found' in helps(capsys, 'audit')
    for said in (helps(capsys, task) for task in ('build', 'pairs', 'audit')):
        assert '2 refused' in said and '130 stopped' in said

@pytest.mark.parametrize('kinds', [['云',''], ['云',None], ['云','  '], [1.,None]])
def test_a_row_without_a_type(shelf, capsys, kinds):
    layer(shelf/'a'/'a.shp', [ground(shapely.box(20,20,60,60)), ground(shapely.box(90,90,150,150))], kinds)
    said = refused(capsys, shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'out')
    assert 'a.shp: 1 row without an error type, the first is row 2' in said
    assert '--unknown ignore' in said and '--alias' not in said
    recipe = Recipe(sizes=(64,), reading=Reading(unknown='ignore'), **EVERYTHING)
    made = build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', recipe)
    assert [(p['kind'], p['row']) for p in made.manifest['problems']]==[('no_type',2)]

def test_an_empty_layer_under_another_name_is_told(shelf, capsys):
    layer(shelf/'a'/'zero.gpkg', [], [])
    for p in (shelf/'a').glob('a.[!t]*'): p.unlink()
    (shelf/'lab').mkdir(); (shelf/'a'/'zero.gpkg').rename(shelf/'lab'/'zero.gpkg')
    assert 'zero.gpkg: it is empty' in refused(capsys, shelf/'a', '--labels', shelf/'lab', '--out', shelf/'out')

def three(root, n=3, H=160, W=240):
    for i in range(n):
        T = place(5e5+1e4*i)
        scene(root/f's{i}.tif', H, W, seed=i, transform=T)
        layer(root/f's{i}.shp', [ground(shapely.box(20,20,100,100), T)], ['云'])
    return root

def notes(root, capsys, *more):
    assert main(['dataset','build',str(root),'--labels',str(root),'--dry-run','--quiet','--json',*map(str, more)])==0
    return ' '.join(json.loads(capsys.readouterr().out)['notes'])

def test_blocks_larger_than_scenes_are_told_of(tmp_path, capsys):
    three(tmp_path/'in')
    told = notes(tmp_path/'in', capsys)
    assert '3 scenes are smaller than 512 pixels, and so are their blocks.' in told
    assert '3 scenes are no larger than 512 pixels, and not cut at 1024.' in told
    three(tmp_path/'one', 1)
    told = notes(tmp_path/'one', capsys, '--size', '200')
    assert '1 scene is smaller than 200 pixels, and so are its blocks.' in told
    assert 'smaller' not in notes(tmp_path/'one', capsys, '--size', '160')

def test_a_share_for_testing_far_from_the_wanted_one_is_told(tmp_path, capsys):
    told = notes(three(tmp_path/'in'), capsys, '--size', '64')
    assert '33% of the blocks are for testing, not 10%' in told and 'there are 3 of' in told
    assert 'for testing' not in notes(tmp_path/'in', capsys, '--size', '64', '--test', '.3')
    assert 'for testing' not in notes(tmp_path/'in', capsys, '--size', '64', '--test', '0')

@pytest.mark.parametrize('words,said', [
    (['--size=0'], 'got 0\n'), (['--size','8,8'], 'got 8,8\n'), (['--clean','26'], 'for 26 % give 0.26')])
def test_wrong_choices_are_quoted_as_they_were_given(shelf, capsys, words, said):
    told = refused(capsys, shelf/'a', '--labels', shelf, '--out', shelf/'out', *words)
    assert said in told and '(0,)' not in told

def test_advice_is_of_use(shelf, tmp_path, capsys):
    "`--clean 1` is only recommended where it would help"
    with rasterio.open(shelf/'a'/'a.tif', 'r+') as f: f.nodata = 0; f.write(np.zeros((3,160,240), np.uint8))
    words = shelf/'a', '--labels', shelf, '--out', shelf/'out', '--size', '512'
    told = refused(capsys, *words)
    assert 'no block has 25% of ground' in told and '--ground' in told and '--clean' not in told
    scene(tmp_path/'b'/'b.tif', 2000, 2000)
    layer(tmp_path/'b'/'b.shp', [ground(shapely.box(2,2,4,4))], ['云'])
    words = tmp_path/'b', '--labels', tmp_path/'b', '--out', tmp_path/'out', '--size', '2000', '--clean'
    for told in (refused(capsys, *words, share) for share in ('.5', '1')):
        assert 'too small to count' in told and '--clean' not in told
    layer(tmp_path/'b'/'b.shp', [], [])
    assert '--clean 1' in refused(capsys, *words, '.5', '--unlabelled', 'clean')
    made = build_dataset([tmp_path/'b'], tmp_path/'b', tmp_path/'out', Recipe((2000,), clean=1, unlabelled='clean'))
    assert made.manifest['counts']['train']['clean']==1

def test_wanting_clean_blocks_are_counted_right(tmp_path, capsys):
    told = notes(three(tmp_path/'in'), capsys)
    assert '1 clean block too few: 0% of all are clean, not 26%' in told and '--clean' in told

@pytest.mark.parametrize('suffix', SHELVED)
def test_every_kind_of_layer_is_found_in_a_folder(shelf, tmp_path, suffix):
    (shelf/'lab').mkdir()
    for p in (shelf/'a').glob('a.[!t]*'): p.unlink()
    layer(shelf/'lab'/f'a{suffix}', [ground(shapely.box(20,20,100,100))], ['云'])
    made = build_dataset([shelf/'a'], shelf/'lab', shelf/'out', Recipe(sizes=(64,), **EVERYTHING))
    assert made.manifest['layers'][0]['name']==f'a{suffix}' and made.manifest['counts']['train']['cloud']

def test_lists_of_suffixes_agree(tmp_path, capsys):
    "What a refusal names is what is read"
    for name in 'a.tif', 'b.txt': (tmp_path/name).touch()
    with pytest.raises(Refused) as e: read_layer(tmp_path/'b.txt')
    assert str(e.value).endswith(', '.join(SUFFIXES)) and {*SUFFIXES}=={*SHELVED, '.json'}
    assert ', '.join(SHELVED) in refused(capsys, SAMPLES/'clean.tif', '--labels', tmp_path, '--out', tmp_path/'out')
    (tmp_path/'none').mkdir()
    assert ', '.join(RASTERS) in refused(capsys, tmp_path/'none', '--labels', tmp_path, '--out', tmp_path/'out')
    assert not [s for s in SHELVED[1:] if s in helps(capsys, 'build')]  # help has no list of its own

def test_progress_in_a_pipe(monkeypatch, capsys):
    "An early line with an estimate, one every ten seconds, one at the end; short loops say one line"
    clock = SimpleNamespace(now=0.)
    monkeypatch.setattr('rsqi.progress.perf_counter', lambda: clock.now)
    def work(n):
        for i in range(n): clock.now += 1; yield i
    at = []
    for _ in track(work(60), 60, 'blocks'):
        if capsys.readouterr().err: at.append(clock.now-1)
    assert at==[1,11,21,31,41,51]
    capsys.readouterr(), list(track(work(60), 60, 'blocks'))
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first=='blocks 1/60 2% 1.0s, about 59 s left' and last=='blocks 60/60 100% 60.0s done'

def test_builds_and_audits_speak_in_a_pipe_and_are_silent_when_asked(shelf, capsys):
    words = ['dataset','build',str(shelf/'a'),'--labels',str(shelf/'a'),'--size','64','--out',str(shelf/'out')]
    assert main(words)==0
    told = capsys.readouterr().err
    assert 'writing about' in told and 'rows of blocks' in told
    assert main([*words, '--overwrite', '--quiet'])==0 and not capsys.readouterr().err
    assert main(['dataset','audit',str(shelf/'out'),'--model','none'])==0
    n = len([*read_dataset(shelf/'out')])
    assert f'blocks are looked at {n}/{n} 100%' in capsys.readouterr().err
