"A model that any checkout can make: the contract must hold whatever a network says."
import pytest

@pytest.fixture(scope='session')
def model(tmp_path_factory):
    "The folder of an untrained network, its last layers scaled so that it finds something of every family on `land`."
    import numpy as np, torch
    from rsqi.engine import save_network
    from rsqi.network import Inspector
    torch.manual_seed(0)
    net, folder = Inspector().eval(), tmp_path_factory.mktemp('model')/'untrained'
    view = torch.from_numpy(np.ascontiguousarray(land(256, 256).transpose(1,2,0)))[None]
    with torch.no_grad():
        bytes_, pixels = net.bytes(view)
        said = net.outline(net.pyramid(net.encoder(bytes_), pixels))[0].flatten(1)  # (11,n), nearly the same everywhere
        factor = 2/said.std(1)
        net.outline.weight.mul_(factor[:,None,None,None])
        net.outline.bias.copy_((net.outline.bias-said.mean(1))*factor)
        wanted = torch.tensor([2.,-1,2,-1,2,-1,2,2,2,2])  # every other region is doubted, so that fusion has a say
        net.present[-1].bias.add_(wanted-net(view)[0][0])
    save_network(net, folder, dict(name='untrained'))
    return folder

def land(H, W, bands=3, seed=0): # (bands,H,W) u8, 20-235
    "Hills without anything in particular, with three lost lines and a striped patch."
    import numpy as np
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:H,:W]
    wave = lambda: np.sin(y/rng.uniform(9,40)+x/rng.uniform(9,40)+rng.uniform(0,6))
    image = np.stack([128+25*(wave()+wave()+wave())+rng.normal(0, 4, (H,W)) for _ in range(bands)]).clip(20, 235)
    image[:, H//2:H//2+3, W//4:W//2] = 0
    image[:, :H//3, W//2::7] += 18
    return image.astype(np.uint8)

def write(path, a, **profile): # a: (bands,H,W)
    import rasterio, warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        profile = {'driver':'GTiff', **profile}
        with rasterio.open(path, 'w', count=len(a), height=a.shape[1], width=a.shape[2], dtype=a.dtype, **profile) as f: f.write(a)
    return path

def read(path):
    import rasterio, warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(path) as f: return f.read(), f.profile, f.crs, f.transform
