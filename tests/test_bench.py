"What the bench measures, and that it measures each size by itself."
import json
import numpy as np, pytest
from test_cli import refused, rsqi_  # noqa: F401 (a fixture)
from rsqi import bench
from rsqi.config import Config

@pytest.fixture(scope='module')
def config(model): return Config(sizes=(256,), model=str(model))

def test_the_command(rsqi_, model, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, 'SHEET', 512)
    (tmp_path/'c.toml').write_text('sizes = [256]\n')
    said = rsqi_('bench', '--sizes', '1024,512', '--positive', '1', '--model', model, '--config', 'c.toml', '--out', 'speed', '--quiet', '--json')
    assert (said.status, said.err, said.out.count('\n'))==(0, '', 1), said
    found = json.loads(said.out)
    assert found==json.loads((tmp_path/'speed/speed.json').read_text()) and (tmp_path/'speed/speed.png').stat().st_size>5000
    small, large = found['sizes']
    assert (small['size'], large['size'], small['blocks'], large['blocks'])==(512, 1024, 9, 25)
    for o in small, large:
        assert 0<o['floor']<o['cpu'] and 100<o['peak_mb']<4000 and o['findings']>0
        assert .7*o['cpu']<sum(o['stages'].values())<1.4*o['cpu'] and min(o['stages'].values())>=0
    assert large['cpu']>small['cpu'] and found['against'] is None and {p.name for p in tmp_path.iterdir()}=={'c.toml','speed'}

def test_memory_is_the_child_s_own(config, tmp_path):
    "what this process holds is not counted"
    ballast = np.ones(200_000_000)  # 1.6 GB
    bench.lay_out(tmp_path/'a.tif', (512,512), (np.full((1024,1024,3), 90, np.uint8),)*2)
    assert bench.alone('inspection_cost', str(tmp_path/'a.tif'), str(tmp_path/'out'), config.to_dict())['peak_mb']<1400 and ballast[0]

def test_a_rival_is_timed_by_role(monkeypatch):
    monkeypatch.setitem(bench.RIVALS, 'small', (('classifier','resnet50'), ('segmenter','segformer-b0')))
    took = bench.rivals_cost('small', most=1, edge=128)
    assert took['classifier']>0 and took['segmenter']>0 and took['segmenter_name']=='segformer-b0'
    sizes = [dict(blocks=10, cpu=2.)]
    ratio = bench.against(took, sizes, dict(network_s=.01))['ratio_networks']
    assert ratio['0.0']<ratio['0.3']<ratio['1.0']
    assert ratio['1.0']==pytest.approx(100*(took['classifier']+took['segmenter']))
    same, once = took['same_engine'], bench.against(took, sizes, dict(network_s=.01))['ratio_same_engine']
    assert 0<min(same.values()) and once['1.0']==pytest.approx(100*sum(same.values()))

def test_the_arithmetic_of_a_known_graph(tmp_path):
    "a convolution, a grouped one and a matrix product, counted by hand"
    import openvino as ov
    from openvino import opset8 as ops
    x = ops.parameter([1,-1,-1,3], np.float32)
    y = ops.convolution(ops.transpose(x, [0,3,1,2]), ops.constant(np.ones((8,3,3,3), np.float32)), [2,2], [1,1], [1,1], [1,1])
    y = ops.group_convolution(y, ops.constant(np.ones((8,1,1,3,3), np.float32)), [1,1], [1,1], [1,1], [1,1])
    y = ops.matmul(ops.reduce_mean(y, [2,3]), ops.constant(np.ones((8,10), np.float32)), False, False)
    ov.save_model(ov.Model([y], [x]), tmp_path/'graph.xml', compress_to_fp16=False)
    assert bench.graph_flops(tmp_path, 64)==2*(32*32*8*27 + 32*32*8*9 + 8*10)

@pytest.mark.parametrize('argv,words', [(['--sizes','100'], ['1024', 'got 100']), (['--sizes','2k'], ['2k', 'no list of edges']), (['--positive','2','--sizes','2000'], ['[0, 1]', 'got 2']),
                                        (['--against','nobody'], ['--against', 'paper']), (['--model','none','--sizes','2000'], ['none'])])
def test_refusals(rsqi_, argv, words): refused(rsqi_('bench', *argv, '--quiet'), *words)
