"Only some ground counts, or counts by sheets: --aoi and --sheets as their users meet them."
import json, shutil
from importlib.resources import files
from pathlib import Path
import geopandas as gpd, jsonschema, numpy as np, pyogrio, pytest, rasterio, shapely
from rasterio.transform import Affine
from conftest import land, read, write
from rsqi.cli import main
from rsqi.sheets import score_sheets

CRS, PLACE = 'EPSG:32648', Affine(.5,0,5e5,0,-.5,3e6)
SCHEMA = json.loads((files('rsqi')/'inspection.schema.json').read_text(encoding='utf-8'))
H, W = 600, 700

def drawn(path, *boxes, crs=CRS, **fields):
    "Boxes (x0,y0,x1,y1) in pixels of the scene, written in its coordinates"
    shapes = [shapely.transform(shapely.box(*b), lambda xy: np.column_stack(PLACE @ xy.T)) for b in boxes]
    gpd.GeoDataFrame(fields, geometry=shapes, crs=crs).to_file(path)
    return path

@pytest.fixture(scope='module')
def scene(tmp_path_factory): return write(tmp_path_factory.mktemp('s')/'scene.tif', land(H, W), crs=CRS,
                                          transform=PLACE)

@pytest.fixture
def inspect(capfd, tmp_path, monkeypatch, model, scene):
    monkeypatch.chdir(tmp_path)
    def run(*argv, scene=scene):
        capfd.readouterr()
        status = main(['inspect', str(scene), '--model', str(model), '--no-report', '--quiet', *map(str, argv)])
        return status, *capfd.readouterr()
    return run

def found(dir):
    f = json.loads(Path(dir, 'inspection.json').read_text(encoding='utf-8'))
    jsonschema.validate(f, SCHEMA)
    return f, read(Path(dir)/'mask.tif')[0][0]

def test_ground_outside_is_ignored_and_not_counted(inspect):
    drawn('aoi.shp', (100,50,400,300), (600,500,900,900))
    status, out, _ = inspect('--out', 'a', '--aoi', 'aoi.shp', '--json')
    facts, mask = found('a')
    inside = np.zeros((H,W), bool); inside[50:300,100:400] = inside[500:,600:] = True
    assert status==0 and (mask[~inside]==255).all() and (mask[inside]!=255).all()
    assert facts['scene']['valid_pixels']==inside.sum() and facts['scene']['aoi']['name']=='aoi.shp'
    assert facts['config']['aoi']=='aoi.shp' and any('inside aoi.shp' in n for n in facts['scene']['notes'])
    assert facts['defects']['pixel_missing']['share']==facts['defects']['pixel_missing']['pixels']/inside.sum()
    assert json.loads(out)['outcome']==facts['verdict']['outcome']

def test_an_area_of_everything_changes_nothing(inspect):
    drawn('all.gpkg', (-100,-100,W+100,H+100))
    inspect('--out', 'a'); inspect('--out', 'b', '--aoi', 'all.gpkg')
    for n in 'mask.tif', 'confidence.tif', 'blocks.parquet': assert Path('a',n).read_bytes()==Path('b',n).read_bytes()
    (a,_), (b,_) = found('a'), found('b')
    assert a['verdict']==b['verdict'] and a['findings']==b['findings']
    assert 'aoi' not in a['scene'] and a['config']['aoi'] is None

def test_longitudes_and_latitudes_and_any_format_mean_the_same(inspect):
    drawn('a.shp', (100,50,400,300))
    pyogrio.read_dataframe('a.shp').segmentize(1).to_crs(4490).to_file('b.geojson')
    inspect('--out', 'a', '--aoi', 'a.shp'); inspect('--out', 'b', '--aoi', 'b.geojson')
    assert (found('a')[1]==found('b')[1]).all()

def test_the_same_area_resumes_and_another_is_refused(inspect):
    drawn('a.shp', (100,50,400,300)); drawn('c.shp', (100,50,400,301))
    pyogrio.read_dataframe('a.shp').to_file('b.gpkg')
    inspect('--out', 'o', '--aoi', 'a.shp')
    before = Path('o/inspection.json').read_bytes()
    assert inspect('--out', 'o', '--aoi', 'b.gpkg')[0]==0 and Path('o/inspection.json').read_bytes()==before
    for other in ['--aoi', 'c.shp'], []:
        status, out, err = inspect('--out', 'o', *other)
        assert (status, out)==(2, '') and 'of another area' in err and '--overwrite' in err
    assert inspect('--out', 'o', '--overwrite')[0]==0 and 'aoi' not in found('o')[0]['scene']

def test_no_ground_inside_is_not_inspected(inspect, tmp_path):
    image = land(H, W); image[:,:,:300] = 0
    dark = write(tmp_path/'dark.tif', image, crs=CRS, transform=PLACE)
    drawn('a.shp', (20,20,200,500))
    assert inspect('--out', 'o', '--aoi', 'a.shp', scene=dark)[0]==0
    assert found('o')[0]['verdict']['outcome']=='NOT_INSPECTED'

REFUSED = {'nowhere.shp': 'no such file', 'text.geojson': 'cannot be read', 'none.gpkg': 'holds no polygon',
           'bare.shp': 'add its .prj',
           'off.shp': 'lies off scene.tif'}

@pytest.mark.parametrize('name,why', REFUSED.items())
@pytest.mark.parametrize('option', ['--aoi', '--sheets'])
def test_refusals_are_one_line_and_write_nothing(inspect, tmp_path, name, why, option):
    Path('text.geojson').write_text('{')
    gpd.GeoDataFrame(geometry=[], crs=CRS).to_file('none.gpkg')
    drawn('bare.shp', (0,0,90,90), crs=None); drawn('off.shp', (9000,0,9900,90))
    status, out, err = inspect('--out', 'o', option, name)
    assert (status, out, len(err.splitlines()))==(2, '', 1) and name in err and not Path('o').exists()
    if option=='--aoi': assert why in err

def test_a_plain_picture_has_areas_in_pixels(inspect, tmp_path):
    plain = write(tmp_path/'plain.tif', land(H, W))
    gpd.GeoDataFrame(geometry=[shapely.box(100,-300,400,-50)]).to_file('a.gpkg')
    drawn('placed.shp', (0,0,90,90))
    inspect('--out', 'o', '--aoi', 'a.gpkg', scene=plain)
    assert (found('o')[1]!=255).sum()==300*250
    status, _, err = inspect('--out', 'p', '--aoi', 'placed.shp', scene=plain)
    assert status==2 and 'the scene has none' in err

# --- sheets

def test_sheets_of_a_grid_add_up_to_the_scene(inspect):
    status, out, _ = inspect('--out', 'o', '--sheets', 'grid:3x2', '--json')
    facts, mask = found('o')
    made, lot = json.loads(Path('o/sheets.json').read_text(encoding='utf-8')), json.loads(out)['lot']
    assert status==0 and lot==made['lot'] and lot['sheets']==6 and sum(lot['grades'].values())==lot['judged']
    assert sum(s['valid_pixels'] for s in made['sheets'])==facts['scene']['valid_pixels']
    for k,d in facts['defects'].items(): assert sum(s['defects'].get(k, {}).get('pixels', 0)
                                                    for s in made['sheets'])==d['pixels'], k
    ids = {f['id'] for f in facts['findings']}
    for s in made['sheets']:
        assert {f['id'] for f in s['findings']}<=ids and 0<=s['score']<=100
        cost = sum(d['deduction'] for d in s['defects'].values())
        assert abs(max(100-cost, 0)-s['score'])<.02 and abs(sum(f['deduction'] for f in s['findings'])-cost)<.01
    frame = pyogrio.read_dataframe('o/sheets.gpkg')
    assert list(frame.name)==[f'r{i}c{j}' for i in (1,2,3) for j in (1,2)] and frame.crs.to_epsg()==32648

def test_the_words_say_the_lot(inspect):
    status, out, _ = inspect('--out', 'o', '--sheets', 'grid:2x2')
    assert status==0 and 'lot of 4 sheets: ' in out and ' sheets graded ' in out

def test_sheets_of_a_finished_inspection_and_of_another_policy(inspect):
    inspect('--out', 'o')
    drawn('图幅.gpkg', (0,0,350,H), (350,0,W,H), 图号=['左','右'])
    assert [s['name'] for s in score_sheets('o', '图幅.gpkg').sheets]==['左','右']
    other = score_sheets('o', 'grid:1x1', policy='conformance')
    assert other.sheets[0]['grade'] in ('PASS',
                                        'FAIL') and other.policy['name']=='conformance' and other.lot['mean_score'] is None
    before = Path('o/inspection.json').read_bytes()
    assert inspect('--out', 'o', '--sheets', 'grid:1x2')[0]==0 and Path('o/inspection.json').read_bytes()==before
    inspect('--out', 'o', '--overwrite')
    assert not Path('o/sheets.json').exists() and not Path('o/sheets.gpkg').exists()

def test_a_changed_policy_is_told(inspect):
    text = (files('rsqi')/'policies'/'area_linear.toml').read_text(encoding='utf-8')
    Path('p.toml').write_text(text, encoding='utf-8')
    inspect('--out', 'o', '--policy', 'p.toml')
    Path('p.toml').write_text(text.replace('weight = 4.0', 'weight = 5.0'), encoding='utf-8')
    with pytest.raises(ValueError, match='has changed since'): score_sheets('o', 'grid:1x1')

@pytest.mark.parametrize('bad,words',
                         [('grid:2', 'such as grid:4x6'), ('grid:0x3', 'such as grid:4x6'),
                          ('grid:999x999', 'do not fit')])
def test_wrong_grids_are_refused_before_the_inspection(inspect, bad, words):
    status, out, err = inspect('--out', 'o', '--sheets', bad)
    assert (status, out, len(err.splitlines()))==(2, '', 1) and words in err and not Path('o').exists()

def test_the_report_shows_sheets_and_escapes_their_names(inspect):
    from rsqi.report import report
    inspect('--out', 'o')
    plain = report('o').read_text(encoding='utf-8')
    drawn('s.gpkg', (0,0,350,H), (350,0,W,H), name=['<img src=x onerror=alert(1)>','b'])
    score_sheets('o', 's.gpkg')
    page = report('o').read_text(encoding='utf-8')
    assert 'id="sheets"' not in plain and 'id="sheets"' in page and '<img src=x' not in page and '&lt;img src=x' in page
