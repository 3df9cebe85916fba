"Inspection folders made by hand, byte by byte from the contract: what a report must be able to read."
import json
import numpy as np
from rsqi.grid import Grid
from rsqi.show import webp
from rsqi.taxonomy import default_taxonomy

TAX = default_taxonomy()
KINDS = ['cloud', 'shadow', 'stretching_blur', 'blur', 'stripe_noise', 'pixel_missing', 'stitching_trace']

def invented_land(shape, rng):
    "Smooth noise in earthy colours, (h,w,3) u8"
    import cv2
    noise = sum(cv2.resize(rng.random((n,n)).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)/n**.4 for n in (4,9,25,80,200))
    return np.stack([40+noise*55, 55+noise*50, 35+noise*45], -1).clip(1,254).astype(np.uint8)

def scattered_mask(shape, n, rng):
    "About `n` ellipses of several defects on a grid of cells, so that none touch, and a strip of ignored ground"
    mask, (H,W) = np.zeros(shape, np.uint8), shape
    side = int(np.ceil(n**.5))
    y, x = np.mgrid[:H,:W]
    for k in range(n):
        cy, cx = (k//side+.5)*H/side, (k%side+.5)*W/side
        ry, rx = rng.uniform(.08, .4, 2)*(H/side, W/side)
        box = np.s_[max(int(cy-ry),0):int(cy+ry)+1, max(int(cx-rx),0):int(cx+rx)+1]
        inside = ((y[box]-cy)/ry)**2 + ((x[box]-cx)/rx)**2 < 1 + .35*np.sin(7*np.arctan2(y[box]-cy, x[box]-cx))
        mask[box][inside] = TAX[KINDS[k % len(KINDS)]].value
    mask[:, W-max(W//40,1):] = 255
    return mask

def polygons_of(mask):
    "(value, polygon at (x,y) pixels) of every connected part, largest first"
    from rasterio.features import shapes
    from shapely.geometry import shape
    found = [(int(v), shape(g)) for g,v in shapes(mask, mask=(mask>0)&(mask<255), connectivity=8)]
    return sorted(found, key=lambda row: -row[1].area)

def facts_of(k, value, polygon, gsd, rng):
    x0, y0, x1, y1 = polygon.bounds
    return dict(id=k, defect=TAX[value].key, value=value, area_px=int(polygon.area), area_m2=polygon.area*gsd**2 if gsd else None,
                confidence=round(float(rng.uniform(.5,.99)),3), severity='ABCD'[min(k%5,3)], deduction=round(polygon.area**.5/200,2),
                bbox=[int(y0), int(x0), int(y1), int(x1)])

def summary_of(facts, valid):
    rows = {d.key: [f for f in facts if f['defect']==d.key] for d in TAX}
    return {k: dict(pixels=sum(f['area_px'] for f in fs), share=sum(f['area_px'] for f in fs)/valid, count=len(fs),
                    area_m2=sum(f['area_m2'] or 0 for f in fs) if fs and fs[0]['area_m2'] is not None else None,
                    severity=min((f['severity'] for f in fs), default=None), deduction=round(sum(f['deduction'] for f in fs),2)) for k,fs in rows.items()}

def document(name, shape, facts, valid, gsd, transform, verdict):
    return dict(schema_version='1.0', version='0.1.0', findings=facts, defects=summary_of(facts, valid), verdict=verdict,
        scene=dict(name=name, sha256='9f'*32, shape=list(shape), crs='EPSG:32648' if gsd else None, gsd=gsd, dtype='uint8',
                   transform=list(transform)[:6] if gsd else None, valid_pixels=valid),
        config=dict(sizes=[512,2048], fusion='intermediate', alpha=1.0, t=.5, bands=None, gsd=None, collar='black', policy='gbt24356_like',
                    model='default', device='auto', precision='fp32', memory=1536, keep_logits=False),
        models=dict(classifier=dict(name='lite0-ten', sha256='ab'*32), segmenter=dict(name='lite0-fpn', sha256='cd'*32)),
        policy=dict(name='gbt24356_like', version='1', sha256='ef'*32),
        timings=dict(open=.4, read=3.1, infer=14.2, merge=2.2, polygons=1.9, score=.1))

VERDICT = dict(outcome='DEFECT', score=71.4, grade='QUALIFIED', grade_zh='合格', inspected_share=.94, review=True, score_interval=[66.0, 76.5],
    reasons=['Cloud covers 5.2 % of the valid ground', 'Stretching blur on steep slopes in 3 places', 'Six rows of pixels are missing'],
    reasons_zh=['云覆盖有效区域的 5.2 %', '陡坡处有 3 处拉花', '有六行像素缺失'])

def write_folder(dir, n=15, shape=(900,1200), name='scene.tif', gsd=.5, image=None, verdict=VERDICT, seed=0, thumbnails=100):
    "Write an inspection folder with about `n` findings and return it"
    import geopandas as gpd, pandas as pd, rasterio, shapely
    from affine import Affine
    rng = np.random.default_rng(seed)
    shape = image.shape[:2] if image is not None else shape
    image = invented_land(shape, rng) if image is None else image
    mask = scattered_mask(shape, n, rng) if n else np.zeros(shape, np.uint8)
    transform = Affine(gsd, 0, 700000, 0, -gsd, 2950000) if gsd else Affine(1, 0, 0, 0, -1, 0)
    found, valid = polygons_of(mask), int((mask!=255).sum())
    facts = [facts_of(k, v, p, gsd, rng) for k,(v,p) in enumerate(found, 1)]
    for sub in dir, dir/'thumbnails': sub.mkdir(parents=True, exist_ok=True)
    shapes = shapely.transform(np.array([p for v,p in found], object), lambda xy: np.column_stack(transform @ xy.T)) if found else []
    frame = gpd.GeoDataFrame([{k:v for k,v in f.items() if k!='bbox'} for f in facts] or {'id':[]}, geometry=list(shapes), crs='EPSG:32648' if gsd else None)
    frame.to_file(dir/'findings.gpkg', layer='findings')
    place = dict(crs='EPSG:32648', transform=transform) if gsd else {}
    with rasterio.open(dir/'mask.tif', 'w', driver='GTiff', height=shape[0], width=shape[1], count=1, dtype='uint8', nodata=255, compress='deflate', **place) as d: d.write(mask, 1)
    step = max(1, int(np.ceil(max(shape)/1600)))
    (dir/'quicklook.webp').write_bytes(webp(image[::step,::step]))
    for f in facts[:thumbnails]:
        y0, x0, y1, x1 = f['bbox']
        (dir/f'thumbnails/{f["id"]}.webp').write_bytes(webp(image[max(y0-8,0):y1+8, max(x0-8,0):x1+8]))
    blocks = [dict(size=512, **b._asdict(), state='done', reason='', **{f'p_{k}': .1 for k in TAX.keys}) for b in Grid(shape, 512)]
    blocks[-1].update(state='not_inspected', reason='3.1% cannot be decoded')
    pd.DataFrame(blocks).to_parquet(dir/'blocks.parquet')
    (dir/'inspection.json').write_text(json.dumps(document(name, shape, facts, valid, gsd, transform, verdict), ensure_ascii=False), encoding='utf-8')
    return dir
