"A model is made thinner by a command, or refused in one line."
import numpy as np, pytest, torch
from rsqi.cli import main
from rsqi.engine import Engine, model_card, save_network
from rsqi.network import Inspector, bottlenecks

class Few:
    "Pictures of large squares, as few and as small as the test can do with"
    def __init__(self, root, split): pass
    def sample(self, size, rng):
        from types import SimpleNamespace
        return SimpleNamespace(image=np.kron(rng.integers(0, 256, (8,8,3)), np.ones((8,8,1))).astype(np.uint8))

@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    "A model of which half repeats the other half, a folder that passes for imagery, and quick samples"
    torch.manual_seed(0)
    net = Inspector(inner=(32,)*15).eval()
    with torch.no_grad():
        for b in bottlenecks(net.encoder):
            for layer in b.conv_pw, b.conv_dw: layer.weight[1::2] = layer.weight[::2]
    save_network(net, tmp_path/'thick', dict(name='thick'))
    monkeypatch.setattr('rsqi.lessons.Supply', Few)
    monkeypatch.setattr('rsqi.lessons.imagery', lambda *_: None)
    return tmp_path

def slim(folder, *more): return main([str(a) for a in ('train', 'slim', '--from', folder/'thick', '--data', folder, '--out', folder/'thin', *more)])

def test_the_same_answers_from_half_the_channels(at_hand, capsys):
    assert slim(at_hand, '--samples', 40, '--most', 1e-4)==0
    told = capsys.readouterr().out
    assert 'inner channels: 480 -> 240' in told and f"model: {at_hand/'thin'}" in told
    assert model_card(at_hand/'thin')['name']=='thin'
    picture = Few('', '').sample(64, np.random.default_rng(5)).image[None]
    thick, thin = (Engine(str(at_hand/m)).run(picture) for m in ('thick','thin')) # graph and weights came along
    for a,b in zip(thick, thin): assert np.abs(a-b).max()<.1*max(a.std(), .1), (np.abs(a-b).max(), a.std())

@pytest.mark.parametrize('more, words', [(('--samples', 1), 'too few'), (('--most', 2), 'below 1'), (('--from', 'no such model'), 'is no start')])
def test_what_cannot_be_slimmed_is_refused_and_nothing_stays(at_hand, capsys, more, words):
    assert slim(at_hand, *more)==2
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines())==1 and not (at_hand/'thin').exists()

def test_a_folder_that_is_there_is_kept(at_hand, capsys):
    (at_hand/'thin').mkdir(); (at_hand/'thin/notes.txt').write_text('mine')
    assert slim(at_hand, '--samples', 40)==2 and 'thin' in capsys.readouterr().err
    assert (at_hand/'thin/notes.txt').read_text()=='mine'
