"Land that is drawn: the same for ever, any shape, clean, and quick."
import subprocess, sys, time
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rsqi import terrain
from rsqi.terrain import KINDS, LAYERS, land, layer

def draw(seed=0, shape=(160,200), **options): return land(shape, np.random.default_rng(seed), **options)

@pytest.mark.parametrize('kind', KINDS)
def test_a_seed_is_a_place(kind):
    assert (draw(3, kind=kind)==draw(3, kind=kind)).all()
    assert (draw(3, kind=kind)!=draw(4, kind=kind)).mean()>.5

def test_the_same_in_another_process():
    "No order of a set, no hash of a string, no leftover state may reach the drawing"
    code = 'import numpy as np; from rsqi.terrain import land; ' \
           'print(int(land((90,120), np.random.default_rng(8)).astype(np.int64).cumsum().sum()))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    draw(1)
    assert int(out)==int(draw(8, (90,120)).astype(np.int64).cumsum().sum())

@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 180), st.integers(1, 180), st.floats(.2, 2), st.sampled_from(list(KINDS)), st.integers(0, 999))
def test_any_shape_is_clean(h, w, gsd, kind, seed):
    image = draw(seed, (h,w), gsd=gsd, kind=kind)
    assert image.shape==(h,w,3) and image.dtype==np.uint8
    assert image.min()>=4 and image.max()<=250 # black would be missing, white would be overflow

@pytest.mark.parametrize('kind', KINDS)
def test_no_line_across_the_whole_sheet(kind):
    "A wrapped or tiled field shows as one column or row that differs from its neighbour everywhere"
    image = draw(5, (400,400), kind=kind).astype(float).mean(2)
    for steps in (np.abs(np.diff(image, axis=0)).mean(1), np.abs(np.diff(image, axis=1)).mean(0)):
        assert steps.max()<3.5*np.median(steps)

@pytest.mark.parametrize('kind', KINDS)
def test_looks_like_a_photograph(kind):
    "Natural scenes: mid tones, muted colours, and strength that falls with frequency, roughly as 1/f"
    image = draw(6, (512,512), kind=kind).astype(float)
    assert 50<image.mean()<170 and 15<image.std()<80
    assert (image.max(2)-image.min(2)).mean()<60
    grey = image.mean(2)-image.mean()
    power = np.abs(np.fft.fft2(grey*np.outer(np.hanning(512), np.hanning(512))))**2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    rings = [power[(f>=lo)&(f<2*lo)].mean() for lo in 2.**-np.arange(8, 1, -1)]
    assert -3.6 < np.polyfit(np.arange(7), np.log2(rings), 1)[0] < -1.2

def test_quick():
    draw(0, (64,64))
    start = time.process_time()
    draw(1, (1024,1024), kind='mixed')
    assert time.process_time()-start < 8

def test_a_new_layer_is_one_function(monkeypatch):
    monkeypatch.setitem(KINDS, 'desert', (('relief', 1, {}), ('dunes', 1, dict(sand=(.3,.5)))))
    monkeypatch.setattr(terrain, 'LAYERS', dict(LAYERS))
    @layer
    def dunes(sheet, sand): sheet.rgb += np.float32(sand)
    assert draw(0, kind='desert').std()>1
    def relief(sheet): "Not the one that is there"
    with pytest.raises(ValueError, match='already defined in rsqi.terrain'): layer(relief)

@pytest.mark.parametrize('options,error,says', [
    (dict(kind='moon'), KeyError, 'fields, town'), (dict(gsd=0.), ValueError, 'gsd=0'), (dict(gsd=9.), ValueError, '0.2, 2'),
    (dict(shape=(0,5)), ValueError, 'at least 1 pixel')])
def test_refuses(options, error, says):
    with pytest.raises(error, match=says): draw(**options)
