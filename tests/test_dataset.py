"Datasets: what is on the shelf is read right, or refused in one line; what is built is whole, traceable and repeatable."
import json, os, shutil, subprocess, sys, warnings
from pathlib import Path
import cv2, geopandas as gpd, numpy as np, pyogrio, pytest, rasterio, shapely
from rasterio.transform import Affine
from rsqi.archive import Reading
from rsqi.cli import main
from rsqi.dataset import build_dataset, digest, read_dataset
from rsqi.refusals import Refused
from rsqi.selection import Recipe
from rsqi.taxonomy import default_taxonomy

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT/'data_samples'
BACKGROUND = Path(os.environ.get('RSQI_DATA', ROOT.parent/'shared'/'data'))/'background'
EVERYTHING = dict(clean=1., test=0.)

def place(x=5e5, y=3e6, gsd=.5): return Affine(gsd, 0, x, 0, -gsd, y)

def scene(path, H=160, W=240, seed=0, crs='EPSG:32648', transform=place()):
    "Write a scene of hills."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:H,:W]
    image = np.stack([120+40*np.sin(y/17+b)+30*np.cos(x/11)+rng.normal(0, 3, (H,W)) for b in range(3)]).clip(20, 235).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(path, 'w', driver='GTiff', height=H, width=W, count=3, dtype='uint8', crs=crs, transform=transform if crs else None) as f: f.write(image)
    return path

def ground(shape, transform=place()):
    "Return a shape in pixels as one on the ground."
    return shapely.transform(shape, lambda p: np.stack(transform*p.T, 1))

def layer(path, shapes, kinds, crs=32648, to=4326, encoding='UTF-8', **fields):
    "Write shapes in ground coordinates."
    table = gpd.GeoDataFrame({'类型': kinds, **fields}, geometry=shapes, crs=crs)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pyogrio.write_dataframe(table if to is None else table.to_crs(to), path, encoding=encoding)
    return path

@pytest.fixture
def shelf(tmp_path):
    "A scene with a cloud that has a hole and a shadow under it, in longitude and latitude."
    ring = shapely.box(20,20,100,100).difference(shapely.box(40,40,80,80))
    scene(tmp_path/'a'/'a.tif')
    layer(tmp_path/'a'/'a.shp', [ground(ring), ground(shapely.box(90,90,150,150))], ['云','阴影'], 面积=[1200.,900.], 扣分=[4,2])
    return tmp_path

def rebuilt(folder, sizes=None):
    "Return the whole mask of a scene that was cut without overlap and without leaving blocks out."
    rows = [e for e in read_dataset(folder) if not sizes or e.more['size'] in sizes]
    out = np.full((max(e.more['y']+e.more['h'] for e in rows), max(e.more['x']+e.more['w'] for e in rows)), 254, np.uint8)
    for e in rows: out[e.more['y']:e.more['y']+e.more['h'], e.more['x']:e.more['x']+e.more['w']] = e.mask()
    return out

def refused(capsys, *argv):
    "Return the one line that a command is refused with."
    status = main(['dataset', 'build', *map(str, argv), '--quiet'])
    out, err = capsys.readouterr()
    assert (status, out, len(err.strip().splitlines())) == (2, '', 1), err
    return err

def test_masks_have_holes_and_an_order(shelf):
    made = build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(64,), **EVERYTHING))
    mask = rebuilt(shelf/'out')
    assert mask.shape==(160,240) and [mask[y,x] for y,x in ((30,30), (60,60), (120,120), (10,10))]==[1,0,2,0]
    assert mask[95,95]==2 and not made.manifest['problems']  # of two regions the later value lies on top
    both = next(e for e in read_dataset(shelf/'out') if e.told==(1,2))
    assert both.more['areas']==[1200.,900.] and both.more['penalties']==[4.,2.] and both.more['origins']==['a/a.shp row 1','a/a.shp row 2']
    assert '云' in both.description and '阴影' in both.description

def test_layers_by_rank(tmp_path):
    "Pixel over region over boundary, whatever the order of the rows"
    s = scene(tmp_path/'s.tif')
    labels = layer(tmp_path/'s.shp', [ground(shapely.box(0,0,x,60)) for x in (20,35,50,60)], ['条状噪声','shadow','Cloud','7'])
    build_dataset([s], labels, tmp_path/'out', Recipe(sizes=(80,), **EVERYTHING))
    mask = rebuilt(tmp_path/'out')
    assert [mask[10,x] for x in (10,30,45,55,70)]==[9,2,1,7,0]

@pytest.mark.parametrize('encoding', ['GBK','UTF-8'])
@pytest.mark.parametrize('cpg', [True, False])
def test_chinese(tmp_path, encoding, cpg):
    s, kinds = scene(tmp_path/'s.tif'), [d.zh for d in default_taxonomy()]
    labels = layer(tmp_path/'s.shp', [ground(shapely.box(20*i,0,20*i+15,15)) for i in range(10)], kinds, encoding=encoding, 备注=['无']*10)
    if not cpg: labels.with_suffix('.cpg').unlink()
    before = {p.name: digest([p]) for p in tmp_path.iterdir()}
    build_dataset([s], labels, tmp_path/'out', Recipe(sizes=(240,), **EVERYTHING))
    mask = rebuilt(tmp_path/'out')
    assert [mask[5,20*i+5] for i in range(10)]==list(range(1,11))
    assert before=={p.name: digest([p]) for p in tmp_path.iterdir() if p.is_file()}  # the archive is not written in

def test_round_trip_of_a_simulation(tmp_path):
    """simulate -> shapefile in another CRS -> build gives the simulator's mask but for pixels whose centre lies within 0.001 pixel of
    an outline; the outlines run along pixel edges, half a pixel from any centre, so none is tolerated"""
    from rsqi.spoil import simulate_scene
    simulate_scene(SAMPLES/'clean.tif', tmp_path/'hurt', ('cloud','shadow','stretching_blur','stripe_noise','pixel_missing','stitching_trace'), .6, 3)
    with rasterio.open(tmp_path/'hurt'/'mask.tif') as f: wanted, valid = f.read(1), f.shape
    own = tmp_path/'own'; own.mkdir()
    shutil.copy(tmp_path/'hurt'/'defective.tif', own/'defective.tif')
    table = gpd.read_file(tmp_path/'hurt'/'defects.shp')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pyogrio.write_dataframe(table.to_crs(3857), own/'defective.shp', encoding='GBK')
    for labels in tmp_path/'hurt'/'defects.shp', own:
        build_dataset([own/'defective.tif'], labels, tmp_path/'out', Recipe(sizes=(256,), ground=0., **EVERYTHING), overwrite=True)
        got = rebuilt(tmp_path/'out')
        if got.shape!=valid: got = np.pad(got, [(0, n-m) for n,m in zip(valid, got.shape)])
        assert not (got!=wanted).any(), (got!=wanted).mean()

def edge(mask):
    "Return the pixels within one pixel of a change of value."
    return cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3,3), np.uint8))>0

def test_hand_drawn_outlines_differ_along_the_edge_only(tmp_path):
    "An outline simplified by half a pixel, as inspectors' tools do, costs pixels that touch another value, and no others"
    s, rng = scene(tmp_path/'s.tif'), np.random.default_rng(0)
    blobs = [shapely.Point(60,60).buffer(40), shapely.Point(170,90).buffer(55)]
    build_dataset([s], layer(tmp_path/'s.shp', [ground(b) for b in blobs], ['云','模糊']), tmp_path/'exact', Recipe(sizes=(240,), **EVERYTHING))
    layer(tmp_path/'s.shp', [ground(b.simplify(.5)) for b in blobs], ['云','模糊'], to=3857)
    build_dataset([s], tmp_path/'s.shp', tmp_path/'drawn', Recipe(sizes=(240,), **EVERYTHING))
    exact, drawn = rebuilt(tmp_path/'exact'), rebuilt(tmp_path/'drawn')
    assert not ((exact!=drawn) & ~edge(exact)).any() and (exact!=drawn).sum()<.02*(exact>0).sum()

def test_nodata_is_ignored(tmp_path):
    s = scene(tmp_path/'s.tif')
    with rasterio.open(s, 'r+') as f:
        f.nodata = 0
        f.write(np.zeros((3,160,100), np.uint8), window=((0,160),(0,100)))
    labels = layer(tmp_path/'s.shp', [ground(shapely.box(80,0,120,160))], ['云'])
    build_dataset([s], labels, tmp_path/'out', Recipe(sizes=(80,), **EVERYTHING))
    rows = list(read_dataset(tmp_path/'out'))
    assert {e.more['x'] for e in rows}=={80,160}  # a block without ground is not cut
    assert [np.unique(e.mask()).tolist() for e in rows if e.more['x']==80]==[[0,1,255]]*2

def test_no_prj(shelf, capsys):
    "Without .prj the polygons are placed where they fit, which is said; where they fit nowhere, they are refused"
    (shelf/'a'/'a.prj').unlink()
    made = build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(64,), **EVERYTHING))
    assert [p['kind'] for p in made.manifest['problems']]==['no_crs'] and rebuilt(shelf/'out')[30,30]==1
    layer(shelf/'a'/'a.shp', [shapely.box(7e6,7e6,8e6,8e6)], ['云'], to=None)
    (shelf/'a'/'a.prj').unlink()
    assert '--labels-crs' in refused(capsys, shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'bad')
    assert not (shelf/'bad').exists()

def test_no_shx(shelf):
    (shelf/'a'/'a.shx').unlink()
    made = build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(64,), **EVERYTHING))
    assert [p['kind'] for p in made.manifest['problems']]==['no_shx'] and rebuilt(shelf/'out')[30,30]==1
    assert not (shelf/'a'/'a.shx').exists()

def test_half_a_shapefile(shelf, capsys):
    "Lost polygons would pass for clean ground"
    whole = (shelf/'a'/'a.shp').read_bytes()
    (shelf/'a'/'a.shp').write_bytes(whole[:-40])
    assert f'{len(whole)-40} of {len(whole)} bytes' in refused(capsys, shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'out')
    assert not (shelf/'out').exists()

def test_empty_layer(shelf, capsys):
    "It may be a scene without errors or an export that failed: refused, unless told"
    layer(shelf/'a'/'a.shp', [], [])
    words = shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'out', '--clean', '1'
    said = refused(capsys, *words)
    assert f"{shelf/'a'/'a.shp'}: the layer of a.tif is empty" in said and '--unlabelled' in said and not (shelf/'out').exists()
    assert '--clean 1' in refused(capsys, *words[:-2], '--unlabelled', 'clean')
    made = build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(64,), unlabelled='clean', **EVERYTHING))
    assert [p['kind'] for p in made.manifest['problems']]==['empty_layer'] and not rebuilt(shelf/'out').any()

def test_unknown_type(shelf, capsys):
    layer(shelf/'a'/'a.shp', [ground(shapely.box(20,20,60,60)), ground(shapely.box(90,90,150,150))], ['雪','阴影'])
    said = refused(capsys, shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'out')
    assert "'雪'" in said and 'row 1' in said and '--alias' in said and not (shelf/'out').exists()
    build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(160,), reading=Reading(unknown='ignore'), **EVERYTHING))
    assert rebuilt(shelf/'out')[30,30]==255
    build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(160,), reading=Reading(aliases=(('雪','cloud'),)), **EVERYTHING), overwrite=True)
    assert rebuilt(shelf/'out')[30,30]==1

def test_outside_and_crossed(shelf, capsys):
    bow = shapely.Polygon([(10,10),(50,50),(50,10),(10,50)])
    layer(shelf/'a'/'a.shp', [ground(bow), ground(shapely.box(500,500,600,600)), ground(shapely.box(200,100,300,120))], ['云','云','模糊'])
    made = build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(160,), **EVERYTHING))
    assert [(p['kind'], p['row']) for p in made.manifest['problems']]==[('invalid_polygon',1), ('off_image',2), ('partly_off',3)]
    mask = rebuilt(shelf/'out')
    assert mask[30,15]==mask[30,45]==1 and mask[15,30]==0 and mask[110,220]==4
    layer(shelf/'a'/'a.shp', [ground(shapely.box(500,500,600,600))], ['云'])
    assert 'none of its polygons (1) lies on a.tif' in refused(capsys, shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'bad')
    assert not (shelf/'bad').exists()

def files_of(folder): return {p.relative_to(folder).as_posix(): digest([p]) for p in sorted(Path(folder).rglob('*')) if p.is_file()}

def test_rebuilds_are_identical_wherever_the_archive_lies(shelf, tmp_path):
    recipe = Recipe(sizes=(64,96))
    build_dataset([shelf/'a'], shelf/'a', shelf/'one', recipe)
    shutil.copytree(shelf/'a', shelf/'elsewhere'/'a')
    made = build_dataset([shelf/'elsewhere'/'a'], shelf/'elsewhere'/'a', shelf/'two', recipe)
    assert files_of(shelf/'one')==files_of(shelf/'two')
    text = (shelf/'two'/'manifest.json').read_text(encoding='utf-8')
    assert str(tmp_path) not in text and {k: v for k,v in files_of(shelf/'two').items() if k!='manifest.json'}==json.loads(text)['files']
    assert made.manifest['files']==json.loads(text)['files']

def archive(root, n=12):
    "Write scenes with a few defects each; every third shows the ground of the one before."
    rng, kinds = np.random.default_rng(1), [d.zh for d in default_taxonomy()]
    for i in range(n):
        T = place(5e5+1e4*(i-(i%3==2)))
        scene(root/f's{i}'/f's{i}.tif', seed=i, transform=T)
        shapes = [ground(shapely.box(x, y, x+30, y+20), T) for x,y in zip(rng.integers(0, 200, 4), rng.integers(0, 130, 4))]
        layer(root/f's{i}'/f's{i}.shp', shapes, [kinds[k] for k in rng.choice(10 if i else 4, 4, False)])
    return root

def test_sides_share_no_ground(tmp_path):
    made = build_dataset([archive(tmp_path/'in')], tmp_path/'in', tmp_path/'out', Recipe(sizes=(64,), test=.2))
    side = {s['name']: s['split'] for s in made.manifest['scenes']}
    group = {s['name']: s['ground'] for s in made.manifest['scenes']}
    assert len({*group.values()})==8 and {*side.values()}=={'train','test'}
    for a in side:
        for b in side: assert group[a]!=group[b] or side[a]==side[b]
    found = made.manifest['counts']
    share = found['test']['blocks']/(found['test']['blocks']+found['train']['blocks'])
    assert .1<share<.3 and all(.2<c['clean']/c['blocks']<.32 for c in found.values())
    for d in default_taxonomy():  # a defect is on both sides, or is said not to be
        if not (found['train'][d.key] and found['test'][d.key]) and found['train'][d.key]+found['test'][d.key]:
            assert any(d.key in n for n in made.manifest['notes']), (d.key, made.manifest['notes'])

def test_stopped_builds_leave_nothing(shelf):
    def stops(iterable, total=None, label=''):
        for item in iterable:
            if 'writing' in label: raise KeyboardInterrupt
            yield item
    with pytest.raises(KeyboardInterrupt): build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(64,), **EVERYTHING), stops)
    assert sorted(p.name for p in shelf.iterdir())==['a']

def test_command(shelf, capsys):
    words = ['dataset','build',str(shelf/'a'/'a.tif'),'--labels',str(shelf),'--size','64,96','--out',str(shelf/'out'),'--quiet','--json']
    assert main(words)==0
    said = json.loads(capsys.readouterr().out)
    assert said['counts']['train']['cloud'] and said['folder']==str(shelf/'out')
    assert main(['dataset','pairs',str(shelf/'out'),'--out',str(shelf/'p.jsonl')])==0
    first = json.loads((shelf/'p.jsonl').read_text(encoding='utf-8').splitlines()[0])
    assert first['lang']=='zh' and first['id'].startswith('a.tif_64_')
    capsys.readouterr()
    for wrong in (['--size','512,512'], ['--clean','26'], ['--labels','nowhere']):
        refused(capsys, shelf/'a'/'a.tif', '--labels', shelf, '--out', shelf/'no', *wrong)
    assert 'no such' in refused(capsys, shelf/'b.tif', '--labels', shelf, '--out', shelf/'no').lower() and not (shelf/'no').exists()

def test_audit(shelf, capsys):
    bow = shapely.Polygon([(10,10),(50,50),(50,10),(10,50)])
    layer(shelf/'a'/'a.shp', [ground(bow), ground(shapely.box(500,500,600,600)), ground(shapely.box(90,90,150,150))], ['云','云','<b>雪'])
    assert main(['dataset','build',str(shelf/'a'),'--labels',str(shelf/'a'),'--size','64,160','--unknown','ignore','--out',str(shelf/'out'),'--quiet'])==0
    before = files_of(shelf/'out')
    capsys.readouterr()
    assert main(['dataset','audit',str(shelf/'out'),'--model','none','--json','--quiet'])==0
    said, page = json.loads(capsys.readouterr().out), (shelf/'out'/'audit.html').read_text(encoding='utf-8')
    assert [p['kind'] for p in said['problems']]==['invalid_polygon','off_image','unknown_type'] and said['counts']['train']['cloud']
    assert '&lt;b&gt;雪' in page and '<b>雪' not in page and 'http' not in page.replace('http-equiv', '')
    assert before=={k: v for k,v in files_of(shelf/'out').items() if k!='audit.html'}
    first = (shelf/'out'/'audit.html').read_bytes()
    (shelf/'out'/'audit.html').unlink()
    assert main(['report',str(shelf/'out'),'--lang','zh'])==0 and capsys.readouterr().out.strip()==str(shelf/'out'/'audit.html')
    assert (shelf/'out'/'audit.html').read_bytes()!=first and '<html lang="zh' in (shelf/'out'/'audit.html').read_text(encoding='utf-8')[:200]
    assert main(['report',str(shelf/'out'),'--inspector','<王>'])==0 and '&lt;王&gt;' in (page := (shelf/'out'/'audit.html').read_text(encoding='utf-8'))
    assert '&lt;b&gt;雪' in page and '<b>雪' not in page and '<王>' not in page
    capsys.readouterr()
    assert main(['dataset','audit',str(shelf/'a'),'--quiet'])==2 and len(capsys.readouterr().err.strip().splitlines())==1
    assert main(['dataset','audit',str(shelf/'out'),'--model','nobody','--quiet'])==2

def test_audit_imports_no_torch():
    code = "import rsqi.audit, rsqi.desk, sys; print([m for m in ('torch','timm','transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()=='[]'

def test_their_dataset_as_parquet(tmp_path):
    "Four columns, ids with background, no metadata of ours"
    import pyarrow as pa, pyarrow.parquet as pq
    from rsqi.dataset import encode
    image, mask = np.full((32,32,3), 90, np.uint8), np.zeros((32,32), np.uint8)
    mask[:8] = 3
    rows = [dict(image=dict(bytes=encode(image), path=None), mask=dict(bytes=encode(mask), path=None), cate_ids=[0,3], caption='卫星图像有拉花。')]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path/'test.parquet')
    e, = read_dataset(tmp_path)
    assert (e.split, e.told, e.description)==('test', (3,), '卫星图像有拉花。') and (e.mask()==mask).all() and (e.image()==image).all()
    pq.write_table(pa.Table.from_pylist([dict(picture=1)]), tmp_path/'test.parquet')
    with pytest.raises(Refused, match='no column of images'): next(read_dataset(tmp_path))
    (tmp_path/'test.parquet').write_bytes(b'PAR1 not really')
    with pytest.raises(Refused, match='copy it again'): next(read_dataset(tmp_path))

def test_jpeg(shelf):
    build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(64,), image='jpeg', **EVERYTHING))
    rows = list(read_dataset(shelf/'out'))
    assert rows[0].files[0][:2]==b'\xff\xd8' and {*np.unique(rebuilt(shelf/'out'))}=={0,1,2}  # masks stay lossless

def test_hugging_face(shelf):
    datasets = pytest.importorskip('datasets')
    build_dataset([shelf/'a'/'a.tif'], shelf, shelf/'out', Recipe(sizes=(64,), **EVERYTHING))
    rows = datasets.load_dataset(str(shelf/'out'), cache_dir=str(shelf/'cache'))['train']
    for r,e in zip(rows, read_dataset(shelf/'out')):
        assert (np.array(r['image'])==e.image()).all() and (np.array(r['mask'])==e.mask()).all() and tuple(r['labels'])==e.told
    assert rows.features['labels'].feature.names[1]=='cloud'

@pytest.mark.skipif(not BACKGROUND.exists(), reason='no real imagery here')
def test_real_scenes_with_simulated_shapefiles(tmp_path):
    from rsqi.spoil import simulate_scene
    real = sorted((BACKGROUND/'massroads').iterdir())[:2]
    for i,path in enumerate(real):
        with rasterio.open(path) as f: crop = f.read((1,2,3), window=((0,512),(0,640)))
        with rasterio.open(tmp_path/f'r{i}.tif', 'w', driver='GTiff', height=512, width=640, count=3, dtype='uint8', crs='EPSG:32619', transform=place(3e5+2e4*i)) as f: f.write(crop)
        simulate_scene(tmp_path/f'r{i}.tif', tmp_path/'in'/f'r{i}', ('cloud','stripe_noise'), .6, i)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            pyogrio.write_dataframe(gpd.read_file(tmp_path/'in'/f'r{i}'/'defects.shp').to_crs(4490), tmp_path/'in'/f'r{i}'/'defects.gpkg')
        for p in (tmp_path/'in'/f'r{i}').glob('defects.*'):
            if p.suffix!='.gpkg': p.unlink()
    made = build_dataset([tmp_path/'in'], tmp_path/'in', tmp_path/'out', Recipe(sizes=(256,), overlap=0, clean=1., test=.5))
    assert [s['name'] for s in made.manifest['scenes']]==['r0/defective.tif','r1/defective.tif'] and {s['split'] for s in made.manifest['scenes']}=={'train','test'}
    for i in range(2):
        with rasterio.open(tmp_path/'in'/f'r{i}'/'mask.tif') as f: wanted = f.read(1)
        for e in read_dataset(tmp_path/'out'):
            m = e.more
            if m['scene']==f'r{i}/defective.tif': assert (e.mask()==wanted[m['y']:m['y']+m['h'], m['x']:m['x']+m['w']]).all()

@pytest.mark.skipif(os.environ.get('RSQI_SLOW')!='1', reason='RSQI_SLOW=1 cuts a scene of 20 000 x 20 000 pixels')
def test_memory_is_bounded(tmp_path):
    "A scene of 1.2 GB in under 1.5 GiB, with lines of progress and an estimate on stderr"
    N, T, rng = 20000, place(), np.random.default_rng(0)
    tile = rng.integers(90, 150, (3,512,512)).astype(np.uint8)
    with rasterio.open(tmp_path/'s.tif', 'w', driver='GTiff', height=N, width=N, count=3, dtype='uint8', tiled=True, blockxsize=512, blockysize=512, compress='deflate', crs='EPSG:32648', transform=T) as f:
        for y in range(0, N, 512):
            for x in range(0, N, 512): f.write(tile[:,:min(512,N-y),:min(512,N-x)], window=((y,min(y+512,N)),(x,min(x+512,N))))
    layer(tmp_path/'s.shp', [ground(shapely.Point(x,y).buffer(300)) for x,y in rng.uniform(500, 19500, (60,2))], ['云','阴影','模糊']*20)
    code = "import resource, sys; from rsqi.cli import main; s=main(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(s)"
    done = subprocess.run([sys.executable, '-c', code, 'dataset', 'build', str(tmp_path/'s.tif'), '--labels', str(tmp_path/'s.shp'), '--out', str(tmp_path/'out')], capture_output=True, text=True)
    assert done.returncode==0, done.stderr
    assert int(done.stdout.split()[-1])<1.5*2**20 and 'about' in done.stderr and 'blocks' in done.stderr
