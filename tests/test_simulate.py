"`rsqi simulate` as its users meet it: files that agree with each other, on scenes of every kind, or one line and nothing."
import json, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pyogrio, pytest, rasterio
from rasterio.features import rasterize
from rasterio.transform import Affine
from conftest import read, write
from rsqi.cli import main
from rsqi.grid import Block
from rsqi.patches import Patch, Recipe
from rsqi.scene import Scene
from rsqi.simulate import ORDER, cloud_and_light, degrade, degrade_told
from rsqi.spoil import FIELDS, NAMES, simulate_scene
from rsqi.taxonomy import default_taxonomy
from rsqi.terrain import land

TAX    = default_taxonomy()
PLACED = dict(crs='EPSG:32648', transform=Affine(.5,0,5e5,0,-.5,3e6))

@pytest.fixture(scope='module')
def ground(): return land((420,560), np.random.default_rng(1)).transpose(2,0,1) # (3,H,W) u8

def tree(folder): return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in Path(folder).rglob('*')}

def pixels(folder): return [read(Path(folder)/n)[0] for n in ('defective.tif','mask.tif')]

def whole(source, out):
    "Check every file of a simulation against the others and against its scene; return simulation.json and the mask."
    known = json.loads((out/'simulation.json').read_text(encoding='utf-8'))
    _, _, crs, there = read(source)
    image, form, *place = read(out/'defective.tif')
    (mask,), shape_of_mask, *mask_place = read(out/'mask.tif')
    assert place==mask_place==[crs, there] and form['tiled'] and form['dtype']=='uint8' and form['compress']=='deflate'
    assert shape_of_mask['nodata']==255 and image.shape==(3,*mask.shape)
    with rasterio.open(out/'mask.tif') as f: assert all(f.colormap(1)[d.value][:3]==tuple(d.rgb) for d in TAX)
    style = (out/'mask.qml').read_text(encoding='utf-8')
    assert all(d.en in style for d in TAX)
    everything = Block(0, 0, *mask.shape)
    with Scene.open(source) as a, Scene.open(out/'defective.tif') as b:
        clean, ok = a.cut(everything)
        assert (ok==(mask!=255)).all() and (b.valid(everything)==ok).all()
        assert (image.transpose(1,2,0)[~ok]==clean[~ok]).all()
    lost = image[:, mask==TAX['pixel_missing'].value]
    assert np.isin(lost, (0,255)).all()
    whole_polygons(out, known, mask, crs, there)
    return known, mask

def whole_polygons(out, known, mask, crs, there):
    placed = crs is not None and not there.is_identity
    assert {p.name for p in out.iterdir()}==NAMES - (set() if placed else {'defects.prj'})
    frame = pyogrio.read_dataframe(out/'defects.shp')
    assert [*frame.columns]==[*FIELDS, 'geometry'] and all(len(c.encode('ascii'))<=10 for c in FIELDS)
    assert (out/'defects.cpg').read_text().strip()=='UTF-8' and frame.is_valid.all() and (frame.crs is not None)==placed
    burnt = rasterize(zip(frame.geometry, frame.value), mask.shape, transform=there if placed else Affine.scale(1,-1))
    assert (burnt==np.where(mask==255, 0, mask)).all()
    assert frame.zh.tolist()==[TAX[k].zh for k in frame.defect] and (frame.penalty>=0).all() and (frame.severity>0).all()
    assert frame.area_m2.isna().all()!=bool(placed)
    by_patch = {(p['patch'],p['defect']): p for p in known['patches']}
    ground = int((mask!=255).sum())
    own = dict(pixels=lambda row: row.area_px, share=lambda row: row.area_px/ground) # told by the finding alone
    for row in frame.itertuples():
        p = by_patch[row.patch, row.defect]
        assert row.id in p['findings'] and (row.mechanism, row.unit, row.measure)==(p['mechanism'], p['unit'], p['measure'])
        if row.measure in own: assert row.severity==pytest.approx(own[row.measure](row))
    for p in known['patches']: # of what is left of it at the end
        y, x, h, w = p['block']
        n = int((mask[y:y+h,x:x+w]==TAX[p['defect']].value).sum())
        assert p['facts']['pixels']==n>0 and p['facts']['share']==pytest.approx(n/ground, rel=1e-4)
        mine = frame[(frame.patch==p['patch'])&(frame.defect==p['defect'])]
        assert sorted(mine.id)==p['findings'] and mine.area_px.sum()==n
        mean = (mine.severity*mine.area_px).sum()/n
        if p['measure'].endswith(('_mean','_levels')): assert mean==pytest.approx(p['severity'], rel=1e-4)
        if p['measure']=='shift_px_max': assert mine.severity.max()==pytest.approx(p['severity'], rel=1e-4)
        if p['measure'] in ('smear_px','blur_sigma_px','offset_px','delta_e'): assert np.ptp(mine.severity)==0
    for key,total in known['defects'].items():
        assert total['pixels']==(mask==TAX[key].value).sum()==frame.area_px[frame.defect==key].sum()

# One defect

@pytest.mark.parametrize('key', ORDER)
def test_being_told_changes_nothing(key, ground):
    image = np.ascontiguousarray(ground[:,:130,:150].transpose(1,2,0))
    for seed in range(5):
        a, b = (np.random.default_rng(seed) for _ in range(2))
        (after, mask, told), (same, there) = degrade_told(image, key, a, .6), degrade(image, key, b, .6)
        assert (after==same).all() and (mask==there).all() and a.bit_generator.state==b.bit_generator.state
        assert told.value>0 and all(isinstance(v, (int,float)) and np.isfinite(v) for v in told.facts.values())

def test_a_mechanism_that_tells_nothing(ground, monkeypatch):
    "a mechanism of two results, as they were once, still works and is measured"
    from rsqi.faults import mechanisms
    def darker(image, rng, strength): return image*.5, np.ones(image.shape[:2], bool)
    monkeypatch.setitem(mechanisms, 'blur', {'darker': darker})
    image = np.ascontiguousarray(ground[:,:64,:64].transpose(1,2,0))
    told = degrade_told(image, 'blur', np.random.default_rng(0))[2]
    assert told.mechanism=='darker' and told.facts['pixels']==64*64 and told.facts['change_levels']>10

# Scenes of every kind

KINDS = dict(
    plain   = lambda g: (g, PLACED),
    no_crs  = lambda g: (g, {}),
    degrees = lambda g: (g, dict(crs='EPSG:4490', transform=Affine(1e-5,0,106,0,-1e-5,26))),
    turned  = lambda g: (g, dict(crs='EPSG:32648', transform=Affine.translation(5e5,3e6) @ Affine.rotation(30) @ Affine.scale(.5,-.5))),
    grey    = lambda g: (g[:1], PLACED),
    deep    = lambda g: (g.astype(np.uint16)*37+200, PLACED),
    nodata  = lambda g: (np.where(np.arange(560)<200, 0, np.maximum(g, 1)), dict(nodata=0, **PLACED)),
    real    = lambda g: (np.where(np.arange(560)<200, np.nan, g/np.float32(255)).astype(np.float32), PLACED),
    alpha   = lambda g: (np.concatenate([g, np.where(np.arange(560)<200, 0, 255)+0*g[:1]]).astype(np.uint8), dict(photometric='RGB', alpha='YES', **PLACED)),
    collar  = lambda g: (np.where(np.arange(560)<200, 0, np.maximum(g, 1)), PLACED),
    small   = lambda g: (g[:,:45,:70], PLACED),
    wide    = lambda g: (np.tile(g[:,:40], 4), PLACED))

@pytest.mark.parametrize('kind', KINDS)
def test_scenes(kind, ground, tmp_path):
    a, profile = KINDS[kind](ground)
    source = write(tmp_path/'clean.tif', a, **profile)
    simulate_scene(source, tmp_path/'out', ('cloud','blur','stitching_trace','stripe_noise','pixel_missing'), .6, 3)
    known, mask = whole(source, tmp_path/'out')
    assert (mask==TAX['pixel_missing'].value).any() and len(np.unique(mask))>=3
    assert {p.name for p in tmp_path.iterdir()}=={'clean.tif', 'out'}

def test_all_ten(ground, tmp_path):
    "in a scene that is large enough each has a place of its own"
    source = write(tmp_path/'clean.tif', np.tile(ground, (1,4,3)), **PLACED)
    simulate_scene(source, tmp_path/'out', 'all', .7, 2)
    known, mask = whole(source, tmp_path/'out')
    assert set(np.unique(mask))=={0, *(d.value for d in TAX)} and len(known['patches'])==10
    blocks = [tuple(p['block']) for p in known['patches']]
    assert len(set(blocks))==9 # a cloud and its shadow share theirs

def test_holes_are_kept(ground, tmp_path):
    source = write(tmp_path/'clean.tif', ground, **PLACED)
    simulate_scene(source, tmp_path/'out', ('spectral_overflow',), .9, 1)
    whole(source, tmp_path/'out')
    frame = pyogrio.read_dataframe(tmp_path/'out'/'defects.shp').explode()
    assert sum(len(g.interiors) for g in frame.geometry)>0

def test_a_cloud_that_misses_its_block_is_drawn_again(ground, monkeypatch):
    "its veil is empty, and no depth can be taken off"
    import rsqi.patches as patches
    calm, drawn = [np.zeros((200,220), np.float32)]*2, []
    def missing_once(image, *args):
        drawn.append(args)
        return (image, *calm) if len(drawn)==1 else cloud_and_light(image, *args)
    monkeypatch.setattr(patches, 'cloud_and_light', missing_once)
    image = np.ascontiguousarray(ground[:,:200,:220].transpose(1,2,0))
    patch = Patch(1, 'cloud', Block(300,300,200,220))
    recipe = Recipe(('cloud','shadow'), .6)
    _, marks = patches.spoil_patch(image, np.zeros((200,220), np.uint8), patch, (900,900), recipe)
    assert len(drawn)>1 and all(m.mask.any() for m in marks) and [m.key for m in marks]==['shadow','cloud']

# The same again

def test_the_seed_decides(ground, tmp_path):
    source = write(tmp_path/'clean.tif', ground, **PLACED)
    for name,seed in ('a',4), ('b',4), ('c',5): simulate_scene(source, tmp_path/name, 'all', .5, seed)
    a, b, c = (tree(tmp_path/n) for n in 'abc')
    for files in a, b: files['defects.dbf'] = files['defects.dbf'][4:] # it begins with today's date
    assert a==b and a['mask.tif']!=c['mask.tif']

def test_how_the_file_is_stored_does_not_matter(ground, tmp_path):
    big = np.tile(ground, (1,3,2))
    layouts = dict(strips=dict(blockysize=1), tiles=dict(tiled=True, blockxsize=64, blockysize=64), one=dict(blockysize=big.shape[1]))
    for name,layout in layouts.items():
        simulate_scene(write(tmp_path/f'{name}.tif', big, **layout), tmp_path/name, ('cloud','distortion','shadow'), .6, 8)
    first, *others = (pixels(tmp_path/n) for n in layouts)
    assert all((a==b).all() for other in others for a,b in zip(first, other))

def test_another_defect_moves_none(ground, tmp_path):
    "what is drawn in a patch depends on the seed and the patch alone"
    source = write(tmp_path/'clean.tif', ground, **PLACED)
    one = simulate_scene(source, tmp_path/'one', ('blur',), .5, 6)
    two = simulate_scene(source, tmp_path/'two', ('blur','pixel_missing'), .5, 6)
    where = lambda name, key: read(tmp_path/name/'mask.tif')[0][0]==TAX[key].value
    blurred, hidden = where('one', 'blur'), where('two', 'pixel_missing')
    assert (blurred & hidden).any() and (where('two', 'blur')==(blurred & ~hidden)).all() # they share the only place there is
    a, b = (s.patches[0]['facts'] for s in (one,two))
    assert a['blur_sigma_px']==b['blur_sigma_px'] and a['pixels']-b['pixels']==(blurred & hidden).sum()

# What cannot be seen

def lively(shape, *corners, edge=520):
    "Flat ground with detail at some corners (y,x), (3,H,W) u8"
    image = np.full((*shape,3), 120, np.uint8)
    for y,x in corners: image[y:y+edge,x:x+edge] = land((edge,edge), np.random.default_rng(2))
    return image.transpose(2,0,1)

@pytest.mark.parametrize('key', ['blur','distortion','stitching_misalignment','stretching_blur'])
def test_where_nothing_shows_it_is_refused(key, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('flat.tif', lively((200,300)), **PLACED)
    said = refused(capfd, 'flat.tif', '--defect', key, '--out', 'out', '--quiet')
    assert f'{key} would not be seen' in said and f'leave {key} out' in said and not Path('out').exists()

@pytest.mark.parametrize('seed', range(3))
def test_a_defect_goes_where_it_is_seen(seed, tmp_path):
    "one cell in four has anything to blur or to shift"
    source = write(tmp_path/'clean.tif', lively((1040,1040), (0,520)), **PLACED)
    made = simulate_scene(source, tmp_path/'out', ('blur','stitching_misalignment','cloud'), .8, seed)
    known, mask = whole(source, tmp_path/'out')
    for p in known['patches'][:2]: assert p['block'][:2]==[0,532] and p['facts']['change_levels']>=1
    assert made.notes==[]

def test_fewer_patches_than_asked_are_told(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('clean.tif', lively((1040,1040), (0,0)), **PLACED)
    argv = 'simulate', 'clean.tif', '--quiet', '--defect'
    assert main([*argv, 'blur,cloud', '--patches', '9', '--out', 'a', '--json'])==0
    line = json.loads(capfd.readouterr().out)
    assert line['notes']==['blur: 1 of 9 patches; the other places would not show it',
                           'cloud: 4 of 9 patches; the ground has room for 4']
    assert main([*argv, 'blur', '--patches', '2', '--out', 'b'])==0
    assert '  note: blur: 1 of 2 patches' in capfd.readouterr().out
    whole(Path('clean.tif'), Path('a'))

def test_a_defect_that_is_covered_up_is_told(tmp_path):
    "what the next have covered is no longer counted, and a note says so where nothing is left"
    from types import SimpleNamespace as some
    from rsqi.patches import Places
    from rsqi.spoil import _notes
    places = [Places('cloud', 2, (Block(0,0,9,9), Block(9,9,9,9)))]
    pixels = ('shadow',0), ('cloud',5), ('shadow',0), ('cloud',4)
    left = [(some(key=k), some(facts=dict(pixels=n)), []) for k,n in pixels]
    said = _notes(places, left, Recipe(('cloud','shadow')))
    assert said==['shadow: 0 of 2 patches; the other places would not show it']

def test_nothing_is_marked_that_was_not_changed(ground, tmp_path):
    source = write(tmp_path/'clean.tif', np.tile(ground, (1,2,2)), **PLACED)
    for seed in range(3):
        known = simulate_scene(source, tmp_path/'out', 'all', .5, seed, overwrite=True)
        assert all(p['facts']['change_levels']>=1 and p['severity']>0 for p in known.patches)

# Refusals

def refused(capfd, *argv):
    "Run the command; check that it says one line; return it."
    capfd.readouterr()
    status = main(['simulate', *map(str, argv)])
    out, err = capfd.readouterr()
    assert (status, out, len(err.splitlines()))==(2, '', 1) and err.startswith('rsqi: '), (status, out, err)
    return err

@pytest.mark.parametrize('change,words', [
    (['nowhere.tif','--defect','cloud'], 'no such file'), (['clean.tif','--defect','fog'], "no defect 'fog'; this taxonomy has cloud"),
    (['clean.tif','--defect',','], 'name at least one'), (['clean.tif','--defect','cloud','--strength','0'], '(0,1]; got 0'),
    (['clean.tif','--defect','cloud','--strength','1.5'], '(0,1]; got 1.5'), (['clean.tif','--defect','cloud','--strength','nan'], 'got nan'),
    (['clean.tif','--defect','cloud','--seed','-1'], "'-1' is not a whole number"), (['clean.tif','--defect','cloud','--patches','0'], 'above 0'),
    (['empty.tif','--defect','cloud'], 'no ground'), (['tiny.tif','--defect','cloud'], '20 x 31 pixels'), (['text.tif','--defect','cloud'], 'cannot be opened'),
    (['cut.tif','--defect','cloud'], 'copy the file again'), (['clean.tif'], '--defect')])
def test_refusals_leave_nothing(change, words, ground, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('clean.tif', ground, **PLACED); write('empty.tif', ground*0, nodata=0); write('tiny.tif', ground[:,:31,:20])
    Path('text.tif').write_text('no image')
    whole_file = write('whole.tif', np.tile(ground, (1,3,1)), tiled=True, blockxsize=256, blockysize=256, compress='deflate')
    Path('cut.tif').write_bytes(Path(whole_file).read_bytes()[:600_000])
    before = tree(tmp_path)
    assert words in refused(capfd, *change, '--out', 'out', '--quiet')
    assert tree(tmp_path)==before

def test_folders(ground, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('clean.tif', ground, **PLACED)
    argv = 'clean.tif', '--defect', 'blur', '--quiet', '--out'
    Path('file').touch(); Path('mine').mkdir(); Path('mine/thesis.txt').touch(); Path('empty').mkdir()
    assert 'is a file' in refused(capfd, *argv, 'file')
    for more in (), ('--overwrite',): assert 'nothing was deleted' in refused(capfd, *argv, 'mine', *more)
    assert main(['simulate', *argv, 'empty'])==0
    before = tree('empty')
    assert 'add --overwrite' in refused(capfd, *argv, 'empty') and tree('empty')==before
    assert main(['simulate', *argv, 'empty', '--seed', '9', '--overwrite'])==0 and tree('empty')['mask.tif']!=before['mask.tif']
    assert main(['simulate', *argv, 'new/deep'])==0 and Path('new/deep/simulation.json').is_file()
    whole(Path('clean.tif'), Path('new/deep'))

def test_a_scene_in_the_folder_to_be_replaced_is_kept(ground, tmp_path, capfd, monkeypatch):
    "the scene itself, a link to it, a mosaic of it, or a file that belongs to it"
    monkeypatch.chdir(tmp_path)
    write('clean.tif', ground, **PLACED)
    assert main(['simulate', 'clean.tif', '--defect', 'blur', '--quiet', '--out', 'out'])==0
    Path('link.tif').symlink_to(tmp_path/'out'/'defective.tif')
    Path('mosaic.vrt').write_text(f"""<VRTDataset rasterXSize="560" rasterYSize="420">{''.join(
        f'<VRTRasterBand dataType="Byte" band="{b}"><SimpleSource><SourceFilename relativeToVRT="1">out/defective.tif'
        f'</SourceFilename><SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>' for b in (1,2,3))}</VRTDataset>""")
    before = tree(tmp_path)
    for scene in 'out/defective.tif', 'link.tif', 'mosaic.vrt':
        for more in (), ('--overwrite',):
            said = refused(capfd, scene, '--defect', 'cloud', '--quiet', '--out', 'out', *more)
            assert 'lies in' in said and 'nothing was deleted' in said and tree(tmp_path)==before

def test_a_folder_where_none_can_be_made(ground, tmp_path, capfd):
    source = write(tmp_path/'clean.tif', ground, **PLACED)
    said = refused(capfd, source, '--defect', 'blur', '--quiet', '--out', '/proc/out')
    assert 'name another folder' in said and 'bring it back' not in said

def test_what_is_printed(ground, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('clean.tif', ground, **PLACED)
    assert main(['simulate', 'clean.tif', '--defect', '模糊, cloud', '--out', 'a', '--json'])==0
    out, err = capfd.readouterr()
    line = json.loads(out)
    assert line['defects']==['blur','cloud'] and line['found']['blur']['pixels']>0 and 'patches 2/2' in err and out.count('\n')==1
    assert main(['simulate', 'clean.tif', '--defect', 'blur', '--out', 'b', '--quiet'])==0
    out, err = capfd.readouterr()
    assert err=='' and 'blur ' in out and 'of the ground, blur_sigma_px ' in out

def test_stopped(ground, tmp_path, capfd, monkeypatch):
    "Ctrl-C promises no more than is kept: there is nothing to resume"
    import rsqi.spoil as spoil
    source = write(tmp_path/'clean.tif', ground, **PLACED)
    def stop(*args): raise KeyboardInterrupt
    monkeypatch.setattr(spoil, 'finish_rasters', stop)
    assert main(['simulate', str(source), '--defect', 'blur', '--quiet', '--out', str(tmp_path/'out')])==130
    assert capfd.readouterr().err=='rsqi: stopped; nothing was written\n'
    assert {p.name for p in tmp_path.iterdir()}=={'clean.tif'}

def test_killed(ground, tmp_path):
    "nothing is where the result should be, and the next run clears up"
    write(tmp_path/'clean.tif', np.tile(ground, (1,6,5)), **PLACED)
    argv = [sys.executable, '-c', 'import sys; from rsqi.cli import main; sys.exit(main())', 'simulate', 'clean.tif', '--defect', 'all', '--patches', '9', '--out', 'out']
    run = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not (tmp_path/'.out.part'/'scraps'/'mask.tif').exists(): time.sleep(.02)
    run.kill(); assert run.wait()==-signal.SIGKILL
    assert not (tmp_path/'out').exists()
    simulate_scene(tmp_path/'clean.tif', tmp_path/'out', ('blur',), .5, 1, patches=1)
    assert {p.name for p in tmp_path.iterdir()}=={'clean.tif','out'}
    whole(tmp_path/'clean.tif', tmp_path/'out')

# Memory

PEAK = '''
import resource, sys
from rsqi.spoil import simulate_scene
simulate_scene(sys.argv[1], sys.argv[2], ('cloud','blur','distortion','pixel_missing'), .5, 1, patches=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)
'''

def peak(source, out): # MB
    done = subprocess.run([sys.executable, '-c', PEAK, source, out], capture_output=True, text=True, check=True, timeout=300)
    return int(done.stdout)

def test_memory_does_not_grow_with_the_scene(ground, tmp_path):
    "a scene of 6000 x 6000 has 103 MB of pixels, and is never held"
    form = dict(driver='GTiff', count=3, dtype='uint8', tiled=True, compress='deflate', zlevel=1)
    for n in 1600, 6000:
        with rasterio.open(tmp_path/f'{n}.tif', 'w', height=n, width=n, **form, **PLACED) as f:
            strip = np.tile(ground[:,:256], (1,1,-(-n//560)))[:,:,:n]
            for y in range(0, n, 256): f.write(strip[:,:min(256,n-y)], window=((y,min(y+256,n)),(0,n)))
    small, large = (peak(tmp_path/f'{n}.tif', tmp_path/f'out{n}') for n in (1600,6000))
    assert large-small<90, (small, large)
