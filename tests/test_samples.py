"The samples that ship are what they claim to be: georeferenced, lossless, small, and true."
from pathlib import Path
import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize
from rsqi.taxonomy import IGNORED, default_taxonomy

ROOT = Path(__file__).parent.parent
FOLDERS = [pytest.param(ROOT/p, id=p) for p in ('data_samples', 'rsqi/sample')]
tax = default_taxonomy()

def read(path):
    with rasterio.open(path) as f: return f.read(), f.profile

@pytest.mark.parametrize('folder', FOLDERS)
def test_one_place(folder):
    image, a = read(folder/'defective.tif')
    mask, b = read(folder/'mask.tif')
    assert image.shape[1:]==mask.shape[1:] and a['transform']==b['transform'] and a['crs'].to_epsg()==b['crs'].to_epsg()==32648
    assert a['compress']=='deflate' and a['tiled'] and b['nodata']==IGNORED and a['transform'].a==.5

@pytest.mark.parametrize('folder', FOLDERS)
def test_the_mask_is_true(folder):
    image, mask = read(folder/'defective.tif')[0], read(folder/'mask.tif')[0][0]
    assert set(np.unique(mask))=={0, *(d.value for d in tax)}
    assert np.isin(image[:,mask==tax['pixel_missing'].value], (0,255)).all()
    with rasterio.open(folder/'mask.tif') as f: assert all(f.colormap(1)[d.value][:3]==tuple(d.rgb) for d in tax)

def test_the_twin_is_clean():
    clean, hurt = (read(ROOT/f'data_samples/{n}.tif')[0].astype(int) for n in ('clean','defective'))
    mask = read(ROOT/'data_samples/mask.tif')[0][0]
    assert clean.min()>=4 and clean.max()<=250
    changed = np.abs(clean-hurt).max(0)
    for d in tax:
        if d.family!='boundary': assert (changed[mask==d.value]>0).mean()>.9, d.key

@pytest.mark.parametrize('folder', FOLDERS)
def test_the_inspectors_file(folder):
    "Longitudes and latitudes, Chinese attributes, every outline on its defect"
    geopandas = pytest.importorskip('geopandas')
    mask, profile = read(folder/'mask.tif')
    found = geopandas.read_file(folder/'defects.shp')
    assert (folder/'defects.cpg').read_text().strip()=='UTF-8' and found.crs.to_epsg()==4326 and found.is_valid.all()
    assert set(found['type'])=={d.zh for d in tax} and set(found['penalty'])<={1,4,12}
    here = found.to_crs(profile['crs'])
    assert np.allclose(here.area, here['area'], rtol=.01, atol=.5)
    for zh, group in here.groupby('type'):
        drawn = rasterize(group.geometry, mask.shape[1:], transform=profile['transform']).astype(bool)
        assert drawn[mask[0]==tax[zh].value].mean()>.7, zh

def test_small_enough():
    size = lambda folder: sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())
    assert size(ROOT/'data_samples')<=10e6 and size(ROOT/'rsqi/sample')<=3e6
