"Scenes from files: every kind of raster is read or refused in one line; the collar is what labelling the whole array finds."
import http.server, json, os, pickle, resource, socket, subprocess, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings, strategies as st
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, from_origin
from scipy import ndimage
from conftest import write
from rsqi.grid import Block, Grid
from rsqi.ground import Stretch, find_collar, is_collar
from rsqi.scene import Scene, SceneError

ROOT = Path(__file__).parent.parent
WEIRD = Path(os.environ.get('RSQI_DATA', ROOT.parent/'shared/data'))/'weird'

def noise(*shape, lo=20, hi=230, dtype=np.uint8, seed=0): return np.random.default_rng(seed).integers(lo, hi, shape).astype(dtype)
def everything(s): return Block(0, 0, *s.shape)
def refused(path, *words, **options):
    with pytest.raises(SceneError) as e: Scene.open(path, **options)
    said = str(e.value)
    assert '\n' not in said and Path(path).name.split('\n')[0] in said, said
    for w in words: assert w in said, said
    return said

# Refusals

def test_missing(tmp_path): refused(tmp_path/'no.tif', 'no such file', 'give the path')
def test_folder(tmp_path): refused(tmp_path, 'is a folder')
def test_zero_bytes(tmp_path):
    (tmp_path/'zero.tif').touch()
    refused(tmp_path/'zero.tif', '0 bytes')

def test_text(tmp_path):
    (tmp_path/'text.tif').write_text('this is not an image')
    refused(tmp_path/'text.tif', 'cannot be opened', 'give a GeoTIFF')

def test_truncated_header(tmp_path):
    p = write(tmp_path/'a.tif', noise(3,90,90))
    (tmp_path/'cut.tif').write_bytes(p.read_bytes()[:60])
    refused(tmp_path/'cut.tif')

def test_pipe(tmp_path):
    os.mkfifo(tmp_path/'pipe.tif')
    refused(tmp_path/'pipe.tif', 'not a regular file')

def test_complex(tmp_path): refused(write(tmp_path/'c.tif', np.zeros((1,9,9), np.complex64)), 'complex')
def test_too_many_bands(tmp_path): refused(write(tmp_path/'b.tif', np.zeros((1001,2,2), np.uint8)), '1001 bands')
def test_newline_in_name(tmp_path): assert '\n' not in refused(tmp_path/'two\nlines.tif')

@pytest.mark.parametrize('name', ['https://example.org/a.tif', '/vsicurl/https://example.org/a.tif', '/vsizip/a.zip/a.tif', '<GDAL_WMS></GDAL_WMS>', 'a\0b.tif', 'x'*5000])
def test_names_that_are_no_files(name):
    with pytest.raises(SceneError): Scene.open(name)

@pytest.mark.parametrize('bands', [(4,3,2), (0,1,2), (1,2), (1,2,3,3), (), 'rgb', (1.5,2,3), 9, (None,)*3])
def test_bands_that_do_not_exist(tmp_path, bands): refused(write(tmp_path/'a.tif', noise(3,9,9)), '1 to 3', bands=bands)

@pytest.mark.parametrize('options', [dict(collar='grey'), dict(gsd=0), dict(gsd=-1.), dict(gsd=float('nan')), dict(gsd='big')])
def test_options(tmp_path, options): refused(write(tmp_path/'a.tif', noise(3,9,9)), **options)

@pytest.mark.parametrize('bands', [1, 2])
def test_a_second_band_that_is_not_looked_at_is_told(tmp_path, bands):
    notes = Scene.open(write(tmp_path/'a.tif', noise(bands,9,9))).notes
    assert any('band 2 is not looked at' in n for n in notes)==(bands==2) and any(n.startswith('Band 1 is shown as grey') for n in notes)

def test_subdatasets_only(tmp_path):
    from scipy.io import netcdf_file
    with netcdf_file(tmp_path/'two.nc', 'w') as f:
        f.createDimension('y', 9); f.createDimension('x', 9)
        for name in ('north', 'south'): f.createVariable(name, 'f4', ('y','x'))[:] = 1
    refused(tmp_path/'two.nc', 'only subdatasets', 'north', 'gdal_translate')

def test_gigantic_claim(tmp_path):
    with rasterio.open(tmp_path/'big.tif', 'w', driver='GTiff', count=3, height=200_000, width=200_000, dtype='uint8', tiled=True,
                       SPARSE_OK=True, blockxsize=8192, blockysize=8192, compress='deflate'): pass
    refused(tmp_path/'big.tif', '200000 x 200000')

def test_huge_pieces(tmp_path):
    with rasterio.open(tmp_path/'piece.tif', 'w', driver='GTiff', count=3, height=20_000, width=20_000, dtype='uint8', tiled=True,
                       SPARSE_OK=True, blockxsize=20_000-20_000%16, blockysize=20_000-20_000%16, compress='deflate', interleave='pixel'): pass
    refused(tmp_path/'piece.tif', 'TILED=YES')

# Virtual rasters and the network

VRT = '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="{r}">{f}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'

def test_vrt_of_a_local_file(tmp_path):
    a = noise(1,9,9)
    write(tmp_path/'a.tif', a)
    (tmp_path/'v.vrt').write_text(VRT.format(r=1, f='a.tif'))
    with Scene.open(tmp_path/'v.vrt') as s: assert (s.read(everything(s))[...,0]==a[0]).all()

@pytest.mark.parametrize('source', ['gone.tif', '/vsicurl/http://{host}/a.tif', 'http://{host}/a.tif', 'WCS:http://{host}/', 'sub.xml',
    '&lt;GDAL_WMS&gt;&lt;Service name="TMS"&gt;&lt;ServerUrl&gt;http://{host}/${{z}}&lt;/ServerUrl&gt;&lt;/Service&gt;&lt;/GDAL_WMS&gt;'])
@pytest.mark.parametrize('junk', ['', '# '])
def test_no_request_leaves(tmp_path, source, junk, monkeypatch):
    for k in ('no_proxy','NO_PROXY'): monkeypatch.delenv(k, raising=False)
    met = []
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self): met.append(self.path); self.send_error(404)
        do_HEAD = do_GET
        def log_message(self, *a): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f'127.0.0.1:{server.server_port}'
    wms = f'<GDAL_WMS><Service name="TMS"><ServerUrl>http://{host}/${{z}}</ServerUrl></Service><DataWindow><SizeX>99</SizeX><SizeY>99</SizeY></DataWindow></GDAL_WMS>'
    (tmp_path/'sub.xml').write_text(wms)
    (tmp_path/'w.tif').write_text(wms)
    (tmp_path/'v.vrt').write_text(junk+VRT.format(r=int(source=='sub.xml'), f=source.format(host=host)))
    try:
        refused(tmp_path/'v.vrt')
        refused(tmp_path/'w.tif')
    finally: server.shutdown()
    assert not met

def test_no_request_for_overviews(tmp_path, monkeypatch):
    "A sidecar may say that the overviews are elsewhere"
    for k in ('no_proxy','NO_PROXY'): monkeypatch.delenv(k, raising=False)
    a,p = noise(1,900,900),tmp_path/'a.tif'
    write(p, a)
    with socket.create_server(('127.0.0.1', 0)) as server:
        server.settimeout(.5)
        there = f'http://127.0.0.1:{server.getsockname()[1]}/a.ovr'
        for where in '/vsicurl/'+there, there, f'&lt;GDAL_WMS&gt;&lt;Service name="TMS"&gt;&lt;ServerUrl&gt;{there}&lt;/ServerUrl&gt;&lt;/Service&gt;&lt;/GDAL_WMS&gt;':
            (tmp_path/'a.tif.aux.xml').write_text(f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{where}</MDI></Metadata></PAMDataset>')
            with Scene.open(p) as s: assert s.overview(50).shape==(50,50,3)
        with pytest.raises(TimeoutError): server.accept()

# Bands

@pytest.mark.parametrize('driver,options', [('GTiff',{}), ('GTiff',dict(compress='webp', webp_lossless=True)), ('HFA',{}), ('ENVI',{}), ('PCIDSK',{}), ('PNG',{}), ('BMP',{}),
                                            ('JP2OpenJPEG',dict(QUALITY=100, REVERSIBLE='YES', YCBCR420='NO'))])
def test_formats(tmp_path, driver, options):
    a = noise(3,90,120); a[:,:,:20] = 0
    with Scene.open(write(tmp_path/'a.img', a, driver=driver, **options)) as s:
        image,ground = s.cut(everything(s))
        assert (image==a.transpose(1,2,0)).all() and not ground[:,:20].any() and ground[:,20:].all()

def test_one_band(tmp_path):
    a = noise(1,40,50)
    with Scene.open(write(tmp_path/'a.tif', a)) as s: assert (s.read(everything(s))==a[0][...,None]).all() and s.read(everything(s)).shape==(40,50,3)

def test_two_bands(tmp_path):
    a = noise(2,40,50)
    with Scene.open(write(tmp_path/'a.tif', a)) as s: assert (s.read(everything(s))==a[0][...,None]).all()

def test_rgba(tmp_path):
    a = noise(4,40,50); a[3] = 255; a[3,:5] = 0
    with Scene.open(write(tmp_path/'a.tif', a, photometric='RGB', alpha='yes')) as s:
        image,ground = s.cut(everything(s))
        assert (image==a[:3].transpose(1,2,0)).all() and not ground[:5].any() and ground[5:].all()
        assert any('alpha' in n for n in s.notes)

def test_five_bands_and_order(tmp_path):
    a = noise(5,40,50)
    p = write(tmp_path/'a.tif', a)
    with Scene.open(p) as s: assert (s.read(everything(s))==a[:3].transpose(1,2,0)).all()
    for bands in [(4,3,2), [5,1,5]]:
        with Scene.open(p, bands=bands) as s: assert (s.read(everything(s))==a[np.array(bands)-1].transpose(1,2,0)).all()
    with Scene.open(p, bands=5) as s: assert (s.read(everything(s))==a[4][...,None]).all()

def test_colour_interpretation(tmp_path):
    a = noise(4,40,50)
    p = write(tmp_path/'a.tif', a, photometric='MINISBLACK')
    with rasterio.open(p, 'r+') as f:
        C = rasterio.enums.ColorInterp
        f.colorinterp = [C.blue, C.green, C.red, C.undefined]
    with Scene.open(p) as s: assert (s.read(everything(s))==a[[2,1,0]].transpose(1,2,0)).all() and s.valid(everything(s)).all()

def test_palette(tmp_path):
    a = noise(1,40,50, lo=0, hi=3)
    p = write(tmp_path/'a.tif', a)
    with rasterio.open(p, 'r+') as f: f.write_colormap(1, {0:(0,0,9,255), 1:(200,10,30,255), 2:(1,2,3,255)})
    with Scene.open(p) as s: assert (s.read(everything(s))==np.array([[0,0,9],[200,10,30],[1,2,3]])[a[0]]).all() and s.valid(everything(s)).all()

# Values

def test_uint16_one_stretch(tmp_path):
    a = noise(3,300,400, lo=500, hi=3000, dtype=np.uint16); a[:,:,:40] = 0; a[:,100:120,100:120] = 65535
    with Scene.open(write(tmp_path/'a.tif', a)) as s:
        whole = s.read(everything(s))
        assert whole.dtype==np.uint8 and (whole[:,:40]==0).all() and (whole[100:120,100:120]==255).all()
        rest = whole[:,40:][~(a[0,:,40:]==65535)]
        assert rest.min()==1 and rest.max()==254
        for b in Grid(s.shape, 128): assert (s.read(b)==whole[b.ix]).all()
        assert not s.valid(everything(s))[:,:40].any() and s.valid(everything(s))[:,40:].all()
        assert (Scene.open(s.path).read(everything(s))==whole).all()

def test_stretch_is_joint(tmp_path):
    a = np.stack([noise(90,90, lo=1000*k, hi=1000*k+500, dtype=np.uint16) for k in (1,2,3)])
    with Scene.open(write(tmp_path/'a.tif', a)) as s: r,g,b = s.read(everything(s)).reshape(-1,3).T.astype(int)
    assert r.max()<g.min() and g.max()<b.min() # the cast stays

def test_frame_does_not_move_the_stretch(tmp_path):
    a = noise(1,200,200, lo=500, hi=600, dtype=np.uint16)
    framed = np.zeros((1,2000,2000), np.uint16); framed[:,900:1100,900:1100] = a
    stretches = [Scene.open(write(tmp_path/f'{i}.tif', x, nodata=nd))._stretch for i,(x,nd) in enumerate([(a,None),(framed,None),(framed,0)])]
    assert stretches[1]==stretches[2] and abs(stretches[0].dark-stretches[1].dark)<=1 and abs(stretches[0].bright-stretches[1].bright)<=1

def test_little_ground_is_found(tmp_path):
    a = np.zeros((1,3000,3000), np.uint16); a[:,1451:1453,1451:1480] = noise(1,2,29, lo=500, hi=600, dtype=np.uint16)
    with Scene.open(write(tmp_path/'a.tif', a, compress='deflate')) as s: assert 500<=s._stretch.dark<s._stretch.bright<=600

def test_int16_with_nodata(tmp_path):
    a = noise(3,60,70, lo=-100, hi=900, dtype=np.int16); a[:,:9] = -9999; a[0,20,20] = -9999
    with Scene.open(write(tmp_path/'a.tif', a, nodata=-9999)) as s:
        image,ground = s.cut(everything(s))
        assert not ground[:9].any() and ground[9:].all() # one band of nodata is no nodata
        assert image[9:].min()>=1 and image[9:].max()<=254 and s._stretch.dark>-200

def test_float_with_nan(tmp_path):
    a = np.random.default_rng(0).random((3,60,70)).astype(np.float32); a[0,5,5] = np.nan; a[:,6,6] = np.inf; a[:,7,7] = 0; a[:,8,8] = 1
    with Scene.open(write(tmp_path/'a.tif', a)) as s:
        image,ground = s.cut(everything(s))
        assert (~ground).sum()==2 and not ground[5,5] and not ground[6,6]
        assert (image[5,5]==0).all() and (image[6,6]==0).all() and (image[7,7]==0).all() and image[8,8].max()<=254

@pytest.mark.parametrize('dtype', 'uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64'.split())
@pytest.mark.parametrize('value', [0, 7, 'min', 'max'])
def test_constant(tmp_path, dtype, value):
    info = np.iinfo(dtype) if 'int' in dtype else np.finfo(dtype)
    v = {'min':info.min, 'max':info.max}.get(value, value)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with Scene.open(write(tmp_path/'a.tif', np.full((3,30,30), v, dtype))) as s:
            image,_ = s.cut(everything(s))
            assert len(np.unique(image))==1 and (dtype=='uint8' or value!=7 or image[0,0,0]==128)

def test_few_bits(tmp_path):
    with Scene.open(write(tmp_path/'a.tif', noise(1,30,30, lo=0, hi=2), nbits=1)) as s: assert set(np.unique(s.read(everything(s))))=={0,255}
    a = noise(3,30,30, lo=1, hi=4096, dtype=np.uint16); a[:,3] = 4095
    with Scene.open(write(tmp_path/'b.tif', a, nbits=12)) as s:
        image = s.read(everything(s))
        assert (image[3]==255).all() and ((image==255)==(a.transpose(1,2,0)==4095)).all()

@settings(max_examples=60, deadline=None)
@given(st.sampled_from('u1 i1 u2 i2 u4 i4 u8 i8 f4 f8'.split()), st.data())
def test_stretch_law(dtype, data):
    "Order is kept; 0 and 255 only at the limits; never an exception"
    info = np.iinfo(dtype) if dtype[0]!='f' else np.finfo(dtype)
    kind = st.integers(int(info.min), int(info.max)) if dtype[0]!='f' else st.floats(allow_nan=True, width=8*int(dtype[1]))
    raw = np.array(data.draw(st.lists(kind, min_size=1, max_size=40)), dtype)
    with np.errstate(invalid='ignore'): s = Stretch.fit(raw); u = s(raw)
    fine = np.isfinite(raw)
    assert (u[~fine]==0).all()
    assert (np.diff(u[fine][np.argsort(raw[fine], kind='stable')].astype(int))>=0).all()
    assert (raw[(u==0)&fine]<=s.floor).all() and (raw[u==255]>=s.ceiling).all()

# Declared

def test_nodata_per_band(tmp_path):
    a = noise(3,30,30); a[:,:5] = 0; a[1,8,8] = 0
    with Scene.open(write(tmp_path/'a.tif', a, nodata=0)) as s: assert (~s.valid(everything(s))).sum()==150

def test_all_nodata(tmp_path):
    for dtype in (np.uint8, np.uint16, np.float32):
        with Scene.open(write(tmp_path/f'{dtype.__name__}.tif', np.full((3,50,60), 7, dtype), nodata=7)) as s:
            assert not s.valid(everything(s)).any() and not s.valid_overview(20).any() and len(s.notes)

def test_mask_band(tmp_path):
    for internal in (True, False):
        a,p = noise(3,64,64),tmp_path/f'{internal}.tif'
        mask = np.full((64,64), 255, np.uint8); mask[:9] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
            with rasterio.open(p, 'w', driver='GTiff', count=3, height=64, width=64, dtype='uint8') as f: f.write(a); f.write_mask(mask)
        with Scene.open(p) as s: assert (s.valid(everything(s))==(mask>0)).all() and (s.read(everything(s))==a.transpose(1,2,0)).all()

def test_infrared_called_alpha(tmp_path):
    a = noise(4,80,80); a[3,:4,:4] = 0
    with Scene.open(write(tmp_path/'a.tif', a, photometric='RGB', alpha='yes')) as s: assert s.valid(everything(s)).all() and any('not used' in n for n in s.notes)

# Collar

def whole(mask):
    "The collar by labelling the whole array"
    label,n = ndimage.label(mask)
    out = np.zeros_like(mask)
    for i,box in enumerate(ndimage.find_objects(label), 1):
        one = np.pad(label==i, 1)[1:-1,1:-1]
        contact = one[0].sum()+one[-1].sum()+one[:,0].sum()+one[:,-1].sum()
        if is_collar(contact, max(b.stop-b.start for b in box), one.sum(), one.sum(), mask.shape): out |= one
    return out

@settings(max_examples=150, deadline=None)
@given(st.integers(1,40), st.integers(1,40), st.integers(1,50), st.floats(0,1), st.integers(0,2**32-1), st.booleans())
def test_collar_law(H, W, h, fill, seed, smooth):
    "However the strips are cut, the collar is that of the whole array"
    rng = np.random.default_rng(seed)
    mask = rng.random((H,W))<fill
    if smooth: mask = ndimage.median_filter(mask, 5)
    found = find_collar(((y, mask[y:y+h]) for y in range(0, H, h)), (H,W))
    want = whole(mask)
    assert (found.mask(Block(0,0,H,W))==want).all() and found.area==want.sum()
    y,x = rng.integers(H),rng.integers(W)
    b = Block(y, x, rng.integers(1,H-y+1), rng.integers(1,W-x+1))
    assert (found.mask(b)==want[b.ix]).all()

def frame(H, W, turn=.25):
    y,x = np.mgrid[:H,:W]
    c,s = np.cos(turn),np.sin(turn)
    return (np.abs(c*(x-W/2)+s*(y-H/2))>W*.38) | (np.abs(c*(y-H/2)-s*(x-W/2))>H*.38)

@pytest.mark.parametrize('profile', [{}, dict(tiled=True, blockxsize=64, blockysize=64), dict(compress='deflate', blockysize=7), dict(driver='PNG')])
def test_black_collar_of_a_turned_scene(tmp_path, profile):
    a,out = noise(3,300,400),frame(300,400)
    hole = np.zeros((300,400), bool); hole[140:160,180:210] = hole[100,200] = True
    assert not (hole&out).any()
    a[:,out|hole] = 0
    with Scene.open(write(tmp_path/'a.tif', a, **profile)) as s:
        assert (s.valid(everything(s))==~out).all()
        for b in Grid(s.shape, 90): assert (s.valid(b)==~out[b.ix]).all()
        assert any('frame' in n for n in s.notes) and (s.valid_overview(100)!=s.valid_overview(100).all()).any()
    with Scene.open(s.path, collar='none') as s: assert s.valid(everything(s)).all()
    with Scene.open(s.path, collar='white') as s: assert s.valid(everything(s)).all()

def test_white_collar(tmp_path):
    a,out = noise(3,300,400),frame(300,400)
    a[:,out] = 255; a[:,:60,:90] = 0; a[:,150,200] = 255
    p = write(tmp_path/'a.tif', a)
    black = np.zeros((300,400), bool); black[:60,:90] = True
    for collar,wanted in dict(black=black, white=out&~black, both=out|black, none=black&False).items():
        with Scene.open(p, collar=collar) as s: assert (s.valid(everything(s))==~wanted).all(), collar

def test_what_is_no_collar(tmp_path):
    a = noise(3,200,300)
    a[:,50:52] = 0; a[:,0,0] = 0; a[:,:,120] = 0; a[0,:,:9] = 0 # dropped lines, a dead pixel, one band gone
    with Scene.open(write(tmp_path/'a.tif', a)) as s: assert s.valid(everything(s)).all()

def test_collar_beside_nodata(tmp_path):
    a = noise(3,200,300); a[:,:,:40] = 0; a[:,:,-30:] = 99
    with Scene.open(write(tmp_path/'a.tif', a, nodata=99)) as s:
        ground = s.valid(everything(s))
        assert not ground[:,:40].any() and not ground[:,-30:].any() and ground[:,40:-30].all()

@pytest.mark.parametrize('quality', [60, 70, 75, 95])
def test_lossy_collar_leaves_no_crumbs(tmp_path, quality):
    y,x = np.mgrid[:700,:900]/50
    ground = np.stack([130+50*np.sin(x+k)+30*np.cos(y) for k in range(3)])+np.random.default_rng(0).normal(0, 8, (3,700,900))
    out = frame(700,900)
    p = write(tmp_path/'a.tif', np.where(out, 0, ground).clip(0,255).astype(np.uint8), compress='jpeg', jpeg_quality=quality, photometric='YCBCR', tiled=True)
    with Scene.open(p) as s:
        image,valid = s.cut(everything(s))
        assert not (valid & (image==0).all(2)).any()
        assert (valid&out).sum()<.03*out.sum() and (~valid&~out).sum()<30

def test_lossy_sea_is_no_collar(tmp_path):
    "Dark water along the border of a JPEG has zeros, but it is not a frame"
    a = noise(3,400,600, lo=60, hi=90)
    a[:,:150] = noise(1,150,600, lo=0, hi=8)
    with Scene.open(write(tmp_path/'a.tif', a, compress='jpeg', jpeg_quality=90, photometric='YCBCR')) as s: assert s.valid(everything(s)).all()

# Place

def gsd(tmp_path, crs, T, shape=(100,100), **options):
    with Scene.open(write(tmp_path/'g.tif', noise(1,*shape), crs=crs, transform=T), **options) as s: return s.gsd

def test_gsd(tmp_path):
    assert gsd(tmp_path, 'EPSG:32650', from_origin(5e5, 4e6, .5, .5))==pytest.approx(.5)
    assert gsd(tmp_path, 'EPSG:2263', from_origin(9.8e5, 2e5, 1, 1))==pytest.approx(.3048, rel=1e-4)
    assert gsd(tmp_path, 'EPSG:4326', from_origin(116, 60, 1e-5, 1e-5))==pytest.approx(np.sqrt(.5577*1.1141), rel=2e-3)
    assert gsd(tmp_path, 'EPSG:4326', from_origin(179.999, 1, 1e-5, 1e-5))==pytest.approx(1.11, rel=1e-2)
    assert gsd(tmp_path, 'EPSG:32650', Affine.translation(5e5,4e6)*Affine.rotation(33)*Affine.scale(.3,-.3))==pytest.approx(.3)
    assert gsd(tmp_path, 'EPSG:32650', from_origin(5e5, 4e6, .5, .5), gsd=2)==2

def test_no_crs(tmp_path):
    with Scene.open(write(tmp_path/'a.tif', noise(3,20,20))) as s: assert s.crs is None and s.gsd is None and s.transform.is_identity
    with Scene.open(write(tmp_path/'b.tif', noise(3,20,20), transform=from_origin(0, 0, .5, .5))) as s: assert s.crs is None and s.gsd is None

def test_rotated_transform(tmp_path):
    T = Affine.translation(5e5,4e6)*Affine.rotation(33)*Affine.scale(.3,-.3)
    with Scene.open(write(tmp_path/'a.tif', noise(3,20,20), crs='EPSG:32650', transform=T)) as s: assert s.transform.almost_equals(T)

@pytest.mark.parametrize('error,placed', [(0, True), (.3, True), (40, False)])
def test_control_points(tmp_path, error, placed):
    rng,T = np.random.default_rng(0),from_origin(5e5, 4e6, 2, 2)
    gcps = [GroundControlPoint(r, c, *(np.array(T*(c,r))+rng.normal(0, error, 2))) for r in (0,100,200) for c in (0,150,300)]
    with Scene.open(write(tmp_path/'a.tif', noise(3,200,300), gcps=gcps, crs='EPSG:32650')) as s:
        assert (s.gsd==pytest.approx(2, rel=.02)) if placed else s.gsd is None and s.crs is None
        assert any('control points' in n for n in s.notes)

# Shapes, names, damage, use

@pytest.mark.parametrize('shape', [(3,5), (1,1), (1,3000), (3000,1), (513,257)])
def test_small_and_thin(tmp_path, shape):
    a = noise(3,*shape)
    with Scene.open(write(tmp_path/'a.tif', a)) as s:
        assert s.shape==shape and (s.read(everything(s))==a.transpose(1,2,0)).all() and s.valid(everything(s)).all()
        assert max(s.overview(100).shape)<=100 and s.overview(100).shape[:2]==s.valid_overview(100).shape
        assert sum(b.h for b in s.strips())==shape[0] and s.strips()[-1].y+s.strips()[-1].h==shape[0]

@pytest.mark.parametrize('name', ['影像 测试.tif', 'a#b?c%20d!e.tif', 'NETCDF:a.tif', '-x.tif'])
def test_names(tmp_path, name, monkeypatch):
    a = noise(3,20,20)
    write(tmp_path/'plain.tif', a)
    (tmp_path/'plain.tif').rename(tmp_path/name)
    monkeypatch.chdir(tmp_path)
    with Scene.open(name) as s: assert (s.read(everything(s))==a.transpose(1,2,0)).all() and s.name==name

def test_damaged(tmp_path):
    a = noise(3,300,400)
    p = write(tmp_path/'a.tif', a, tiled=True, blockxsize=64, blockysize=64, compress='deflate', interleave='pixel')
    p.write_bytes(p.read_bytes()[:p.stat().st_size*2//3])
    with Scene.open(p) as s:
        with pytest.raises(SceneError, match='rows 0-299, columns 0-399 cannot be decoded') as e: s.read(everything(s))
        assert '\n' not in str(e.value)
        image,ground,readable = s.salvage(everything(s))
        assert .3<readable.mean()<.9 and (image[readable]==a.transpose(1,2,0)[readable]).all() and ground.all() and not image[~readable].any()
        assert s.overview(50).any() and len(s.notes)

def test_overview_reads_overviews(tmp_path):
    a = noise(3,1024,1024, lo=100, hi=150)
    p = write(tmp_path/'a.tif', a, tiled=True)
    plain = Scene.open(p).overview(100)
    assert plain.shape==(100,100,3) and abs(plain.astype(float)-a.mean()).max()<12
    with rasterio.open(p, 'r+') as f:
        f.build_overviews([2,4,8], rasterio.enums.Resampling.average)
    with Scene.open(p) as s: assert abs(s.overview(100).astype(int)-plain).max()<=12 and s.overview(4000).shape==(1024,1024,3)

def test_sha256(tmp_path):
    import hashlib
    p = write(tmp_path/'a.tif', noise(3,20,20))
    with Scene.open(p) as s: assert s.sha256()==hashlib.sha256(p.read_bytes()).hexdigest()
    (tmp_path/'a.tif.aux.xml').write_text('<PAMDataset></PAMDataset>')
    with Scene.open(p) as s: assert s.sha256()==hashlib.sha256(p.read_bytes()).hexdigest() # statistics left by a GIS
    e = write(tmp_path/'b.img', noise(3,20,20), driver='ENVI')
    with Scene.open(e) as s: assert s.sha256()==hashlib.sha256(e.read_bytes()+(tmp_path/'b.hdr').read_bytes()).hexdigest()

def test_nothing_is_written_beside(tmp_path):
    p = write(tmp_path/'a.tif', noise(3,200,200, dtype=np.uint16))
    before = sorted(os.listdir(tmp_path))
    with Scene.open(p) as s: s.overview(50); s.valid(everything(s)); s.notes
    assert sorted(os.listdir(tmp_path))==before

def test_pickle_threads_and_closing(tmp_path):
    a = noise(3,300,300, lo=300, hi=3000, dtype=np.uint16); a[:,:,:30] = 0
    s = Scene.open(write(tmp_path/'a.tif', a), gsd=3., collar='both')
    with ThreadPoolExecutor(8) as pool: got = list(pool.map(s.cut, Grid(s.shape, 64)))
    again = pickle.loads(pickle.dumps(s))
    assert again.gsd==3 and again.collar=='both' and again._found.keys()>={'_stretch','_collars'}
    for b,(image,ground) in zip(Grid(s.shape, 64), got): assert (image==again.read(b)).all() and (ground==again.valid(b)).all()
    s.close(); s.close()
    with pytest.raises(ValueError, match='closed'): s.read(Block(0,0,1,1))
    with pytest.raises(ValueError, match='inside'): again.read(Block(0,0,301,1))

# Bounded memory, and the zoo

def limited(code, gb, *args, timeout=600):
    "Run `code` in a process that may use `gb` GiB of address space"
    def limit(): resource.setrlimit(resource.RLIMIT_AS, (int(gb*2**30),)*2)
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'OPENBLAS_NUM_THREADS':'1'}
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, cwd=ROOT, preexec_fn=limit, timeout=timeout, env=env)

BIG = '''
import sys, resource, numpy as np
from rsqi.scene import Scene
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Scene.open(sys.argv[1]) as s:
    n = sum(int(s.cut(b)[1].sum()) for b in s.strips())
    s.overview(800); m = s.valid_overview(800).mean()
print(n, round(float(m), 2), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-start)//1024)
'''

@pytest.mark.parametrize('profile', [dict(tiled=True, blockxsize=256, blockysize=256), dict(blockysize=16)])
def test_memory_is_bounded(tmp_path, profile):
    "A scene of 432 MB of 16-bit values with a frame is read in far less"
    n = 6000
    with rasterio.open(tmp_path/'big.tif', 'w', driver='GTiff', count=3, height=n, width=n*2, dtype='uint16', compress='deflate', zlevel=1, **profile) as f:
        for y in range(0, n, 256):
            h = min(256, n-y)
            a = np.broadcast_to(np.arange(2*n, dtype=np.uint16)%500+700, (3,h,2*n)).copy()
            a[:,:,:1000] = 0
            f.write(a, window=rasterio.windows.Window(0, y, 2*n, h))
    r = limited(BIG, 3, tmp_path/'big.tif')
    assert r.returncode==0, r.stderr[-2000:]
    ground,share,mb = r.stdout.split()
    assert int(ground)==n*(2*n-1000) and float(share)==pytest.approx(11/12, abs=.01) and int(mb)<400, r.stdout

ZOO = '''
import json, sys, time
from pathlib import Path
from rsqi.grid import Grid
from rsqi.scene import Scene, SceneError
for line in sys.stdin:
    path,t = Path(json.loads(line)), time.time()
    print(json.dumps(str(path)), flush=True)
    try:
        with Scene.open(path) as s:
            for b in s.strips():
                image,ground,readable = s.salvage(b)
                assert image.shape==(b.h,b.w,3) and image.dtype=='uint8' and ground.shape==readable.shape==(b.h,b.w) and ground.dtype==readable.dtype==bool
            for b in Grid(s.shape, 512):
                try: s.cut(b)
                except SceneError as e: assert '\\n' not in str(e) and path.name in str(e)
            assert s.overview(256).shape[:2]==s.valid_overview(256).shape and len(s.sha256())==64 and all(isinstance(n, str) for n in s.notes)
        said = 'read'
    except SceneError as e:
        said = str(e); assert '\\n' not in said and path.name in said, said
    print(json.dumps([said, time.time()-t]), flush=True)
'''

FUZZ = '''
import random, sys
from pathlib import Path
from rsqi.scene import Scene, SceneError
seeds,n = [Path(p) for p in sys.argv[2:]],int(sys.argv[1])
for i in range(n):
    rng,seed = random.Random(i),seeds[i%len(seeds)]
    data = bytearray(seed.read_bytes())
    for _ in range(rng.choice((1,2,8))): data[rng.randrange(min(len(data), rng.choice((64,600,10**6))))] = rng.choice((0,1,127,128,255,rng.randrange(256)))
    if rng.random()<.2: data = data[:rng.randrange(1, len(data))]
    p = seed.with_name('fuzzed'+seed.suffix); p.write_bytes(data)
    print(i, flush=True)
    try:
        with Scene.open(p) as s:
            if s.shape[0]*s.shape[1]>10**7: continue
            for b in s.strips(): s.salvage(b)
            s.overview(64); s.valid_overview(64); s.notes
    except SceneError as e: assert '\\n' not in str(e) and p.name in str(e)
'''

def test_fuzzed(tmp_path):
    "Bytes turned at random end in pixels or in a refusal"
    gcps = [GroundControlPoint(r, c, c, -r) for r in (0,50) for c in (0,50)]
    seeds = [write(tmp_path/'a.tif', noise(3,60,70), compress='deflate', tiled=True, blockxsize=32, blockysize=32, crs='EPSG:32650', transform=from_origin(0,0,1,1), nodata=0),
             write(tmp_path/'b.tif', noise(1,60,70, dtype=np.uint16), compress='lzw', gcps=gcps, crs='EPSG:4326', nbits=12),
             write(tmp_path/'c.tif', noise(4,60,70), compress='jpeg', photometric='RGB', alpha='yes'),
             write(tmp_path/'d.png', noise(3,60,70), driver='PNG'), write(tmp_path/'e.img', noise(3,60,70), driver='HFA')]
    (tmp_path/'v.vrt').write_text(VRT.format(r=1, f='a.tif'))
    r = limited(FUZZ, 3, 2000 if os.environ.get('RSQI_SLOW')=='1' else 150, *seeds, tmp_path/'v.vrt')
    assert r.returncode==0, (r.stdout.split()[-1:], r.stderr[-2000:])

def test_zoo():
    "Every unusual or broken file is read, or refused in one line, soon and in little memory"
    files = sorted(f for f in WEIRD.rglob('*') if f.is_file())
    if not files: pytest.skip('no folder of unusual files')
    if os.environ.get('RSQI_SLOW')!='1': files = files[::max(1, len(files)//40)]
    def limit(): resource.setrlimit(resource.RLIMIT_AS, (3*2**30,)*2)
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'OPENBLAS_NUM_THREADS':'1'}
    r = subprocess.run([sys.executable, '-W', 'error::RuntimeWarning', '-c', ZOO], input='\n'.join(json.dumps(str(f)) for f in files),
                       capture_output=True, text=True, cwd=ROOT, preexec_fn=limit, timeout=600, env=env)
    lines = [json.loads(x) for x in r.stdout.splitlines()]
    assert r.returncode==0 and len(lines)==2*len(files), f'stopped at {lines[-1:]}: {r.stderr[-2000:]}'
    assert not r.stderr, r.stderr[-2000:]
    slow = [(f,t) for f,(_,t) in zip(lines[::2], lines[1::2]) if t>30]
    assert not slow, slow
