"What leaves rsqi: nothing is lost on the way, nothing in a file runs, and no network is asked."
import csv, json, re, shutil, socket, sqlite3, subprocess, sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pyogrio, pytest, rasterio, shapely
from affine import Affine
from pyproj import CRS as ProjCRS, Geod
from rasterio.crs import CRS
from rsqi.cli import main
from rsqi.config import Config
from rsqi.exchange import FORMATS, export
from rsqi.inspection import Inspection, Run, finish
from rsqi.merge import Band, write_bands
from rsqi.metadata import NAMESPACES, Details, check_item, iso_metadata, iso_quality, stac_item
from rsqi.polygons import FIELDS, SeamLine
from rsqi.refusals import Refused
from rsqi.taxonomy import default_taxonomy

HOSTILE = '=HYPERLINK("http://x","点我")\x01]]>&<b>.tif'
PLACES = dict(projected=('EPSG:32648', Affine(.5,0,700000,0,-.5,2950000)), zone_middle=('EPSG:32648', Affine(.5,0,500000,0,-.5,2950000)), zone_edge=('EPSG:32650', Affine(1,0,755000,0,-1,4410000)),
              geographic=('EPSG:4490', Affine(5e-6,0,103.7,0,-5e-6,29.6)), turned=('EPSG:4547', Affine(.4,.3,500000,.3,-.4,3200000)),
              web=('EPSG:3857', Affine(1,0,11600000,0,-1,3400000)), nowhere=(None, None))

def inspected(folder, crs, transform, name=HOSTILE):
    "The inspection of a scene with four kinds of findings, one with a hole"
    mask, folder = np.zeros((500,700), np.uint8), Path(folder)
    mask[40:240,50:350], mask[90:150,120:220], mask[300:420,100:400] = 1, 0, 2
    mask[:,500:513], mask[480:482,:], mask[:,:20] = 8, 10, 255
    crs = crs and CRS.from_string(crs)
    folder.mkdir(exist_ok=True)
    write_bands(folder, [Band(0, mask, np.where(mask%255, 190, 0).astype(np.uint8))], mask.shape, crs, transform)
    grey = lambda h, w: np.full((h,w,3), 90, np.uint8)
    scene = SimpleNamespace(name=name, shape=mask.shape, crs=crs, transform=transform, gsd=crs and .5, dtype='uint8', notes=[],
                            sha256=lambda: '5e'*32, overview=lambda n: grey(*mask.shape), read=lambda b: grey(b.h, b.w))
    seam = SeamLine(8, np.array([(0.,506.), (500.,506.)]), 3.5)
    return finish(folder, scene, Config(), {r: dict(name='default', sha256='ab'*32) for r in ('classifier','segmenter')}, Run(seams=(seam,)))

@pytest.fixture(scope='module', params=PLACES)
def scene(request, tmp_path_factory):
    return request.param, inspected(tmp_path_factory.mktemp('e')/'scene.rsqi', *PLACES[request.param])

@pytest.fixture(scope='module')
def written(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp('out')/'export'
    return export(scene[1], None, out, Details('zh', '王工', '测绘院', '2025-06-01')), out

def test_a_round_trip_loses_nothing(scene, written):
    "Every field and every corner, through Shapefile, GeoPackage and GeoJSON, in Chinese too"
    place, found = scene
    first = pyogrio.read_dataframe(found.dir/'findings.gpkg', layer='findings')
    files = {'findings.shp': {}, 'findings.gpkg': dict(layer='findings'), **({} if place=='nowhere' else {'findings.geojson': {}})}
    for name,how in files.items():
        back = pyogrio.read_dataframe(written[1]/name, **how).sort_values('id', ignore_index=True)
        told = [k for k in FIELDS if k in back]
        if name!='findings.geojson': assert told==[*FIELDS]
        for k in told:
            same = [(a is None or a!=a) if (b is None or b!=b) else a==pytest.approx(b, abs=1e-4) if isinstance(b, float) else a==b
                    for a,b in zip(back[k], first[k])]
            assert all(same), (name, k, list(back[k]), list(first[k]))
        if name!='findings.geojson': assert shapely.equals(np.asarray(back.geometry), np.asarray(first.geometry)).all()
        assert list(back.zh)==[default_taxonomy()[k].zh for k in back.defect]
        assert sum(len(p.interiors) for p in back.geometry.explode())==1
    assert (written[1]/'findings.cpg').read_text()=='UTF-8' and (written[1]/'findings.prj').exists()==(place!='nowhere')

def test_areas_agree_with_the_ellipsoid(scene, written):
    "Within a thousandth, in a zone's middle, beside it, at its edge, turned, in degrees and on a web map"
    place, found = scene
    if place=='nowhere':
        assert all(f['area_m2'] is None for f in found.findings) and not (written[1]/'findings.geojson').exists()
        return
    shapes = pyogrio.read_dataframe(written[1]/'findings.geojson')
    geod = Geod(ellps='GRS80' if place in ('geographic','turned') else 'WGS84')
    for shape,f in zip(shapes.geometry, found.findings):
        true = geod.geometry_area_perimeter(shape)[0]
        assert true>0 and abs(f['area_m2']/true-1)<1e-3, (place, f['defect'], f['area_m2'], true)

def test_geojson_is_as_rfc_7946_has_it(scene, written):
    place, found = scene
    if place=='nowhere': pytest.skip('GeoJSON has only places on earth')
    told = json.loads((written[1]/'findings.geojson').read_text(encoding='utf-8'))
    assert {*told}=={'type','features'} and len(told['features'])==len(found.findings)
    for f in told['features']:
        shape = shapely.from_geojson(json.dumps(f['geometry']))
        for p in shapely.get_parts(shape):
            assert p.exterior.is_ccw and not any(r.is_ccw for r in p.interiors)
            assert -180<=p.bounds[0] and p.bounds[2]<=180 and not p.has_z
        assert f['properties']['scene']==found.scene['name']

def test_rasters_are_cloud_optimised_and_coloured(scene, written):
    found = scene[1]
    for kind in 'mask', 'confidence':
        with rasterio.open(written[1]/f'{kind}.tif') as a, rasterio.open(found.dir/f'{kind}.tif') as b:
            assert a.tags(ns='IMAGE_STRUCTURE')['LAYOUT']=='COG' and (a.read(1)==b.read(1)).all() and a.crs==b.crs
            if kind=='mask': assert all(a.colormap(1)[d.value][:3]==d.rgb for d in default_taxonomy())

def test_qgis_knows_every_value_of_a_mask_by_name(scene, written):
    "QGIS applies the .qml of the same name by itself: beside the mask in the inspection's folder, and in what is exported"
    for folder in scene[1].dir, written[1]:
        style = ET.parse(folder/'mask.qml').getroot()
        renderer, entries = style.find('pipe/rasterrenderer'), [*style.iter('paletteEntry')]
        assert (style.tag, renderer.get('type'), renderer.get('band'))==('qgis', 'paletted', '1')
        assert [(int(e.get('value')), e.get('color'), e.get('label')) for e in entries]==[(d.value, d.hex, f'{d.zh} {d.en}') for d in default_taxonomy()]
        with rasterio.open(folder/'mask.tif') as f: assert {*np.unique(f.read(1)).tolist()}-{0,255}<={int(e.get('value')) for e in entries}
    ramp = ET.parse(written[1]/'confidence.qml').getroot()
    assert ramp.find('pipe/rasterrenderer').get('type')=='singlebandpseudocolor' and [float(e.get('value')) for e in ramp.iter('item')][::5]==[0,255]

def test_no_cell_of_a_table_runs(scene, written):
    "A scene that is called like a formula stays a name"
    from openpyxl import load_workbook
    book = load_workbook(written[1]/'record.xlsx')
    cells = [c for s in book for row in s for c in row if c.value is not None]
    assert not [c.coordinate for c in cells if c.data_type=='f']
    names = [c for c in cells if str(c.value).startswith('=HYPERLINK')]
    assert len(names)==1 and names[0].data_type=='s' and names[0].quotePrefix and '\x01' not in names[0].value
    assert book['图斑 Findings'].max_row==1+len(scene[1].findings) and book['分类 Classes'].max_row==11
    assert book['结论 Verdict']['A1'].value=='项目' and book['图斑 Findings']['A1'].value=='编号\nNo.'
    rows = [*csv.reader((written[1]/'findings.csv').read_text(encoding='utf-8-sig').splitlines())]
    assert rows[0][:2]==['编号','缺陷'] and all(r[-1].startswith("'=HYPERLINK") for r in rows[1:])
    assert not [c for r in rows for c in r if c[:1] in '=+@' and c]

ORDER = dict( # The order of the standards' schemas, as far as it is used here
    DQ_DataQuality='scope report', DQ_MeasureReference='measureIdentification nameOfMeasure measureDescription',
    DQ_FullInspection='dateTime evaluationMethodDescription evaluationMethodType', DQ_QuantitativeResult='value valueRecordType',
    DQ_ConformanceResult='specification explanation pass', MD_Scope='level extent', MD_Identifier='code codeSpace version',
    CI_Citation='title date edition identifier', CI_Date='date dateType', CI_Responsibility='role party', CI_Organisation='name individual',
    MD_Metadata='metadataIdentifier contact dateInfo metadataStandard referenceSystemInfo identificationInfo contentInfo dataQualityInfo '
                'resourceLineage',
    MD_DataIdentification='citation abstract spatialRepresentationType spatialResolution topicCategory extent',
    MD_ImageDescription='attributeDescription imageQualityCode cloudCoverPercentage',
    EX_GeographicBoundingBox='westBoundLongitude eastBoundLongitude southBoundLatitude northBoundLatitude')
ELEMENT = 'measure evaluationMethod result'
NEEDED = dict(MD_Metadata=('contact','dateInfo','identificationInfo'), DQ_DataQuality=('scope','report'), MD_DataIdentification=('citation','abstract'),
              MD_ImageDescription=('attributeDescription',), DQ_ConformanceResult=('specification','pass'), CI_Citation=('title',))

def local(e): return e.tag.rpartition('}')[2]

@pytest.mark.parametrize('write,root', [(iso_quality, 'DQ_DataQuality'), (iso_metadata, 'MD_Metadata')])
def test_iso_xml_has_the_structure_of_the_schemas(scene, write, root):
    tree = ET.fromstring(write(scene[1], Details('zh', '王<工>', 'A & B', '2025-06-01')))
    assert local(tree)==root and {e.tag.partition('}')[0][1:] for e in tree.iter()}<={*NAMESPACES.values()}
    for e in tree.iter():
        inside, name = [local(c) for c in e], local(e)
        order = ORDER.get(name, ELEMENT if name.startswith('DQ_') and 'result' in inside else None)
        if order:
            known = order.split()
            assert set(inside)<=set(known) and inside==sorted(inside, key=known.index), (name, inside)
        for need in NEEDED.get(name, ()): assert need in inside, (name, need)
        if name.islower() or name[0].islower(): assert len(e)<=1, name       # a property holds one object
    reports = tree.iter(f"{{{NAMESPACES['mdq']}}}report")
    assert len([*reports])==len(default_taxonomy())+2

def test_the_stac_item_holds_and_asks_no_network(scene, written, monkeypatch):
    def refuse(*a, **k): raise AssertionError('a socket was opened')
    monkeypatch.setattr(socket, 'socket', refuse)
    monkeypatch.setattr(socket, 'create_connection', refuse)
    place, found = scene
    item = stac_item(found, written[1], written[0].made, Details(acquired='2025-06-01'))
    check_item(item)
    assert (item['geometry'] is None)==(place=='nowhere')==('bbox' not in item)
    for a in item['assets'].values():
        file = written[1]/a['href']
        assert a['file:size']==file.stat().st_size and a['file:checksum'].startswith('1220')
    mask, properties = item['assets']['mask.tif'], item['properties']
    assert [c['value'] for c in mask['classification:classes']]==[*range(11), 255] and mask['raster:bands'][0]['nodata']==255
    assert properties['eo:cloud_cover']==pytest.approx(100*found.defects['cloud']['share'], abs=1e-3)
    assert properties['rsqi:outcome']=='DEFECT' and ('proj:code' in properties)==(place!='nowhere')
    assert item['id'].replace('-', '').isalnum() and item['id'].isascii()

WANTED = { # What the published schemas of the extensions ask for, version 1 or 2 of each: pattern of a value, or its kind
    'eo:cloud_cover': lambda v: 0<=v<=100, 'file:size': lambda v: isinstance(v, int) and v>=0, 'file:checksum': lambda v: re.fullmatch('[a-f0-9]+', v),
    'processing:software': lambda v: v and all(isinstance(x, str) for x in v.values()), 'processing:lineage': lambda v: isinstance(v, str),
    'processing:datetime': lambda v: re.fullmatch(r'[0-9-]{10}T[0-9:]{8}Z', v), 'proj:code': lambda v: re.fullmatch('EPSG:[0-9]+', v), 'proj:wkt2': lambda v: isinstance(v, str),
    'proj:shape': lambda v: len(v)==2 and all(isinstance(n, int) for n in v), 'proj:transform': lambda v: len(v) in (6,9),
    'raster:bands': lambda v: v and all(b['data_type']=='uint8' for b in v),
    'classification:classes': lambda v: len({c['value'] for c in v})==len(v) and all(isinstance(c['value'], int) and re.fullmatch('[0-9A-Za-z_-]+', c['name'])
                                                                                  and re.fullmatch('[0-9A-F]{6}', c.get('color_hint', '000000')) for c in v)}

def test_the_extensions_of_the_stac_item_are_declared_and_used_as_they_say(scene, written):
    "Each prefix has its schema among stac_extensions and none is declared in vain; values are of the kind that schema wants"
    item = json.loads((written[1]/'item.json').read_text(encoding='utf-8'))
    used = {k: v for part in (item['properties'], *item['assets'].values()) for k,v in part.items() if ':' in k}
    theirs = {k for k in used if not k.startswith('rsqi:')}
    schema = dict(proj='projection')
    declared = {re.search(r'(?:extensions.github.io|org)/([a-z-]+)/v[0-9.]+/schema.json$', u)[1] for u in item['stac_extensions']}
    assert {schema.get(p, p) for p in (k.partition(':')[0] for k in theirs)}==declared
    assert theirs<={*WANTED} and all(WANTED[k](used[k]) for k in theirs), theirs-{*WANTED}
    models = item['properties']['rsqi:models']
    assert {*models}=={'classifier','segmenter'} and all({*m}=={'name','sha256'} for m in models.values())

def test_cloud_is_unknown_where_ground_was_not_looked_at(tmp_path):
    found = inspected(tmp_path/'a', *PLACES['projected'])
    part = Inspection(**{**vars(found), 'verdict': {**found.verdict, 'inspected_share': .9}})
    assert 'eo:cloud_cover' not in stac_item(part, found.dir)['properties']
    assert ET.fromstring(iso_metadata(part)).find('.//mrc:cloudCoverPercentage', NAMESPACES) is None

def test_a_clean_scene_and_one_without_confidence(tmp_path):
    from inspection_folder import write_folder
    clean = dict(outcome='CLEAN', score=100, grade='EXCELLENT', grade_zh='优', reasons=['No defect was found'], reasons_zh=['未发现缺陷'],
                 inspected_share=1., review=False, score_interval=None)
    made = export(write_folder(tmp_path/'clean', 0, verdict=clean), ['geojson','csv','xlsx','cog','stac','iso'], tmp_path/'out')
    assert 'confidence.tif' not in {m.name for m in made.made}
    assert json.loads((tmp_path/'out/findings.geojson').read_text())==dict(type='FeatureCollection', features=[])

def test_the_style_is_registered_as_the_standard_wants(written):
    db = sqlite3.connect(written[1]/'findings.gpkg')
    kinds = dict(db.execute('SELECT table_name, data_type FROM gpkg_contents'))
    row = db.execute('SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles').fetchone()
    db.close()
    assert kinds==dict(findings='features', layer_styles='attributes') and row[:3]==('findings', 'geom', 1)
    labels = [c.get('label') for c in ET.fromstring(row[3]).iter('category')]
    assert '云 Cloud' in labels and len(labels)==10

# --- the command

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    room = tmp_path_factory.mktemp('cli')
    inspected(room/'甲 乙.rsqi', *PLACES['projected'], name='甲 乙.tif')
    return room

def test_the_command_says_what_it_wrote(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(['export', '甲 乙.rsqi', '--format', 'csv,stac', '--out', 'x', '--json'])==0
    said = json.loads(capsys.readouterr().out)
    assert {p.name for p in Path('x').iterdir()}=={*said['files'], 'export.json'} and 'mask.tif' in said['files']
    assert main(['export', '甲 乙.rsqi', '--out', 'all', '--lang', 'zh'])==0
    assert '检查记录表' in capsys.readouterr().out

@pytest.mark.parametrize('words,said', [
    (['--format', 'dwg'], "no format 'dwg'; choose of geojson, gpkg"), (['--format', ','], 'no format is named'),
    (['--acquired', 'gestern'], "'gestern' is no date; give one such as 2025-06-01"), (['--out', ''], 'name a folder'),
    (['--out', '甲 乙.rsqi'], 'holds other files than a delivery')])
def test_refusals_are_one_line(folder, capsys, monkeypatch, words, said):
    monkeypatch.chdir(folder)
    assert main(['export', '甲 乙.rsqi', *words])==2
    err = capsys.readouterr().err
    assert said in err and err.count('\n')==1 and (folder/'甲 乙.rsqi/inspection.json').exists()

def test_what_qgis_leaves_behind_stops_no_second_export(folder, tmp_path):
    "QGIS writes statistics beside a raster that it shows"
    export(folder/'甲 乙.rsqi', ['cog'], tmp_path/'o')
    (tmp_path/'o/mask.tif.aux.xml').write_text('<PAMDataset/>')
    export(folder/'甲 乙.rsqi', ['cog'], tmp_path/'o', overwrite=True)
    assert {p.name for p in (tmp_path/'o').iterdir()}=={'export.json', *(f'{k}.{e}' for k in ('mask','confidence') for e in ('tif','qml'))}

def test_a_folder_that_is_none_is_refused(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(['export', 'nothing'])==2 and 'holds no inspection.json' in capsys.readouterr().err and not Path('export').exists()

@pytest.mark.parametrize('library,name', [('openpyxl','xlsx'), ('pystac','stac')])
def test_a_missing_library_is_named_with_the_line_that_installs_it(folder, tmp_path, monkeypatch, library, name):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Refused, match=r"pip install 'rsqi\[exchange\]'"): export(folder/'甲 乙.rsqi', [name], tmp_path/'o')
    assert not (tmp_path/'o').exists()
    made = export(folder/'甲 乙.rsqi', None, tmp_path/'o')
    assert any(n.startswith(f'{name} was left out') for n in made.notes) and len(made.made)>8

def test_nothing_half_written_is_left(folder, tmp_path, monkeypatch):
    def breaks(*a): raise OSError(28, 'No space left on device', 'findings.csv')
    monkeypatch.setitem(FORMATS, 'csv', FORMATS['csv']._replace(write=breaks))
    with pytest.raises(Refused, match='free space'): export(folder/'甲 乙.rsqi', ['gpkg','csv'], tmp_path/'o')
    assert not [*tmp_path.iterdir()]

def test_it_imports_no_torch():
    code = "import rsqi.exchange, sys; print([m for m in ('torch','openpyxl','pystac','geopandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()=='[]'
