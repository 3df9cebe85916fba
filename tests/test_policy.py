"Policies: the laws of the score for any policy, files that are refused, seams that are short, and doubts."
import json
from dataclasses import replace
from importlib.resources import files
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from rsqi.polygons import Finding
from rsqi.score import chance, load_policy, score
from rsqi.taxonomy import default_taxonomy

TAX = default_taxonomy()
SHIPPED = ['gbt24356_like', 'area_linear', 'conformance']
TEXT = {n: (files('rsqi')/'policies'/f'{n}.toml').read_text(encoding='utf-8') for n in SHIPPED}

def found(key, area=1, confidence=1., length=None, measure=None, id=1):
    return Finding(id, key, TAX[key].value, None, area, None, confidence, length_px=length, measure=measure)

finding = st.builds(found, st.sampled_from(TAX.keys), st.integers(1, 10**7), st.floats(0, 1),
                    st.none()|st.floats(1, 9e3),
                    st.none()|st.floats(0, 90))

@st.composite
def policies(draw):
    "A shipped policy, its numbers turned as far as a user's file may turn them"
    base = load_policy(draw(st.sampled_from(SHIPPED)))
    change = dict(worst_px=draw(st.floats(1, 1e4)), worst_share=draw(st.floats(0, 1)), cap=draw(st.floats(.1, 100)))
    if base.method=='classes': change.update(t=draw(st.floats(.3, 5)),
                                             fails=draw(st.sampled_from(['A','B','C','D',''])))
    return replace(base, **change)

@settings(max_examples=150, deadline=None)
@given(policies(), st.lists(finding, max_size=6), finding, st.floats(.01, .99), st.sampled_from([1e4, 1e6, 9e8]))
def test_laws_hold_for_any_policy_and_any_ground(policy, scene, extra, cut, valid_px):
    judge = lambda fs: score(fs, policy, valid_px, draws=2)
    before, after = judge(scene), judge([*scene, extra])
    part = lambda s: replace(extra, area_px=extra.area_px*s, length_px=extra.length_px and extra.length_px*s)
    split, rank = judge([part(cut), *scene, part(1-cut)]), [g['key'] for g in policy.grades].index
    assert rank(after.grade)>=rank(before.grade)
    if before.value is None: assert split.grade==after.grade and split.value is None; return
    assert 0<=after.value<=before.value<=100 and abs(split.value-after.value)<.011
    for k,j in after.defects.items():
        mine = [f.deduction for f in after.findings if f.defect==k]
        assert abs(sum(mine)-j.deduction)<1e-6 and all(f.severity==j.severity for f in after.findings if f.defect==k)

@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SHIPPED), finding, st.floats(1, 5))
def test_a_stronger_seam_and_a_longer_one_never_raise_the_score(name, f, more):
    policy, value = load_policy(name), lambda f: score([f], load_policy(name), 4e6, draws=1)
    if f.measure is None or f.length_px is None: return
    rank = [g['key'] for g in policy.grades].index
    for worse in replace(f, measure=f.measure*more), replace(f, length_px=f.length_px*more, area_px=f.area_px*more):
        assert rank(value(worse).grade)>=rank(value(f).grade)

SEAMS = [d.key for d in TAX.family('boundary')]

@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SEAMS), st.lists(st.integers(1, 10**7), min_size=1, max_size=5), st.sampled_from([1e4, 1e6, 9e8]))
def test_a_band_by_area_alone_never_fails_a_scene(key, areas, valid_px):
    "A band is as wide as it is drawn: judged by area, a seam costs 40 points at most, however thin the scene it crosses"
    policy = load_policy('area_linear')
    said = score([found(key, a) for a in areas], policy, valid_px, draws=1)
    assert said.value>=60 and said.grade!='UNQUALIFIED'
    uncapped = policy.defects[key]['weight']*min(sum(areas)/valid_px, 1)*100
    assert abs(said.value-round(100-min(uncapped, 40), 2))<.011

def test_what_is_worse_than_what_fails_a_scene_fails_it_too():
    "Of class C, then with twice the ground of class B: the grade stays the last, and the reason says why"
    policy = replace(load_policy('gbt24356_like'), fails='C')
    for area,severity in (2_250_000, 'C'), (4_500_000, 'B'):
        said = score([found('spectral_overflow', area, 1., None, None)], policy, 9e8, draws=2)
        assert (said.findings[0].severity, said.grade)==(severity, 'UNQUALIFIED')
        assert said.reasons[0]=='Unqualified because of class C or worse: Spectral overflow'
    assert score([found('spectral_overflow', 2_250_000, 1., None, None)], replace(policy, fails=''), 9e8, draws=2).grade=='EXCELLENT'

def test_one_short_seam_fails_no_large_scene():
    "A join that is off by 18 px for 200 px: fatal for a small sheet, not for a scene of 10 000 px"
    policy, seam = load_policy('gbt24356_like'), found('stitching_misalignment', 900, 1., 200., 18.)
    small, large = (score([seam], policy, n**2) for n in (1000, 10_000))
    assert (small.defects['stitching_misalignment'].severity, small.grade)==('A', 'UNQUALIFIED')
    assert (large.defects['stitching_misalignment'].severity, large.grade)==('B', 'GOOD')
    assert 'over its worst 1000 px' in large.reasons[0] and '1000 px' in large.reasons_zh[0]
    assert score([replace(seam, length_px=5000.)], policy, 1e8).grade=='UNQUALIFIED'

def test_the_files_say_whose_numbers_they_are():
    for n in SHIPPED:
        p = load_policy(n)
        assert 'own proposal' in p.basis_en and '自行拟定' in p.basis_zh
    p = load_policy('gbt24356_like')
    assert p.prices==(1., 4., 12., 42.) and replace(p, t=2.).prices==(.5, 2., 6., 42.)
    assert [g['min'] for g in p.grades]==[90, 75, 60, 0]

WRONG = [ # policy, what is replaced, by what, words of the refusal
    ('gbt24356_like', 'cap = 40.0', 'cap = 140.0', ('cap must be a number from 1e-09 to 100', '140.0')),
    ('gbt24356_like', 't = 1.0', 't = 0.1', ('D/t, C/t, B/t to A', '120.0')),
    ('gbt24356_like', 'fails = "A"', 'fails = "E"', ("fails must be one of ('A', 'B', 'C', 'D', '')", "'E'")),
    ('gbt24356_like', 'full = 1.0', 'full = 100.0', ('defects.cloud.full must be a number from 0.1 to 1', '100.0')),
    ('gbt24356_like', '[1e-3, 1e-2, 1e-1]', '[0.1, 1.0, 10.0]',
     ('defects.cloud.limits must be a number from 1e-12 to 1', '10.0')),
    ('gbt24356_like', '[1e-3, 1e-2, 1e-1]', '[1e-2, 1e-3, 1e-1]', ('defects.cloud.limits must rise',)),
    ('gbt24356_like', 'worst_share = 0.1', 'worst_share = 10', ('worst_share must be a number from 0 to 1', '10')),
    ('gbt24356_like', 'C = 4.0', 'C = 0.5', ('points must rise',)),
    ('gbt24356_like', 'name = "gbt24356_like"', 'name = 3', ('name must be text', '3')),
    ('gbt24356_like', '[defects]', '[defects]\nfog = {limits = [0.1, 0.2, 0.3], full = 1.0}',
     ('unknown key defects.fog', 'cloud, shadow')),
    ('area_linear', 'weight = 4.0', 'weight = "much"', ('defects.cloud.weight must be a number', "'much'")),
    ('area_linear', 'weight = 50.0, cap = 40.0', 'weight = 50.0, cap = 400.0', ('defects.stitching_trace.cap must be a number from 0 to 100', '400.0')),
    ('area_linear', 'weight = 50.0, cap = 40.0', 'weight = 50.0, top = 40.0', ('unknown key defects.stitching_trace.top', 'weight, cap')),
    ('area_linear', 'cap = 100.0', 't = 2.0', ('unknown key t', 'allowed are name, version, method')),
    ('conformance', 'limit = 1e-1', 'limit = 10.0', ('defects.cloud.limit must be a number from 0 to 1', '10.0')),
    ('conformance', 'min = 0.0', 'min = 10.0', ('grades must fall to min = 0',)),
    ('conformance', 'method = "limits"', 'method = "feeling"',
     ("method must be one of ('classes', 'areas', 'limits')", "'feeling'"))]

@pytest.mark.parametrize('name,old,new,words', WRONG)
def test_a_wrong_policy_is_refused_with_its_key_and_what_is_allowed(tmp_path, name, old, new, words):
    assert old in TEXT[name]
    (tmp_path/'mine.toml').write_text(TEXT[name].replace(old, new, 1), encoding='utf-8')
    with pytest.raises(ValueError) as e: load_policy(tmp_path/'mine.toml')
    assert all(w in str(e.value) for w in words) and 'mine.toml' in str(e.value) and '\n' not in str(e.value), str(e.value)

@settings(max_examples=40, deadline=None)
@given(st.lists(finding, min_size=1, max_size=5))
def test_confidence_moves_the_span_and_never_the_score(fs):
    policy = load_policy('gbt24356_like')
    sure, plain, none = (score(fs, policy, 1e6, draws=60, reliability=r) for r in (
        {k: ([0.,1.], [1.,1.]) for k in TAX.keys}, None, {k: ([0.,1.], [0.,0.]) for k in TAX.keys}))
    unmeasured = sum(sure.measures[k] is None for k in sure.defects) # each of these is a doubt, whatever the confidence
    assert sure.value==plain.value==none.value and len(sure.doubts)==unmeasured
    assert sure.interval==(sure.value, sure.value) and none.interval[1]==100.
    assert len(none.doubts)-unmeasured==(none.grade!='EXCELLENT')

def test_a_reliability_is_read_between_its_points():
    table = dict(cloud=([.5,.9], [.2,.8]))
    assert [round(chance(found('cloud', 9, c), table), 3) for c in (.1,.5,.7,.9,1.)]==[.2,.2,.5,.8,.8]
    assert chance(found('blur', 9, .3), table)==.3
