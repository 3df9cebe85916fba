"Detectors chosen by name, and tables with more than ten defects."
import json
import numpy as np, pytest
from conftest import land, write

def inspect(tmp_path, capsys, *more):
    from rsqi.cli import main
    image = land(160, 192)
    write(tmp_path/'影像.tif', image)
    status = main(['inspect', str(tmp_path/'影像.tif'), '--out', str(tmp_path/'out'), '--json', '--no-report', '--quiet', *more])
    said = capsys.readouterr()
    return status, said.out, said.err

def test_the_papers_rule_on_the_command_line(tmp_path, capsys, model):
    "It is used, saved with the result, and part of the command that makes the same again."
    status, out, _ = inspect(tmp_path, capsys, '--model', str(model), '--detector', 'pixel_missing=paper')
    assert status==0
    saved = json.loads((tmp_path/'out/inspection.json').read_text(encoding='utf-8'))
    assert saved['config']['detectors']==['pixel_missing=paper']
    from rsqi.inspection import Inspection
    from rsqi.sections import provenance
    assert '--detector pixel_missing=paper' in provenance(Inspection.load(tmp_path/'out')).data

@pytest.mark.parametrize('wrong', ['pixel_missing=mine', 'cloud=paper', 'paper', '=', 'pixel_missing=paper=x'])
def test_a_detector_that_does_not_exist_is_refused_in_one_line(tmp_path, capsys, model, wrong):
    status, out, err = inspect(tmp_path, capsys, '--model', str(model), '--detector', wrong)
    assert status==2 and out=='' and len(err.strip().splitlines())==1 and 'stripe_noise=paper' in err and not (tmp_path/'out').exists()

def test_another_detector_is_another_config():
    from rsqi.config import Config
    assert Config(detectors=('stripe_noise=paper',)).hash!=Config().hash
    assert Config(detectors=('stripe_noise=paper',)*2)==Config(detectors=('stripe_noise=paper',))
    assert Config.from_dict(Config(detectors=('stripe_noise=paper',)).to_dict())==Config(detectors=('stripe_noise=paper',))

def test_a_longer_table_must_begin_with_ours(tmp_path, monkeypatch):
    from importlib.resources import files
    from rsqi.taxonomy import default_taxonomy
    text, f = (files('rsqi')/'defects.toml').read_text(encoding='utf-8'), tmp_path/'t.toml'
    more = text+'\n[[defect]]'+text.split('[[defect]]')[-1].replace('pixel_missing', 'hot_pixel').replace('Pixel missing', 'Hot pixel').replace('像素缺失', '热像元')
    monkeypatch.setenv('RSQI_DEFECTS', str(f))
    try:
        for content,count in (more, 11), (text, 10):
            f.write_text(content, encoding='utf-8'); default_taxonomy.cache_clear()
            assert len(default_taxonomy())==count
        f.write_text('[[defect]]'.join([text.split('[[defect]]')[0], *text.split('[[defect]]')[2:]]), encoding='utf-8'); default_taxonomy.cache_clear()
        with pytest.raises(ValueError, match='add rows behind them'): default_taxonomy()
    finally: monkeypatch.delenv('RSQI_DEFECTS'); default_taxonomy.cache_clear()

def test_a_network_says_nothing_of_what_it_never_learned():
    from rsqi.classifier import widened
    from rsqi.engine import SILENCE
    assert (widened(np.ones(10))==1).all() and (widened(np.ones(7))[7:]==SILENCE).all()
