"Sentences agree with the mask they were made from, whatever its shape, and with one another in both languages."
import json, re
from dataclasses import replace
from itertools import product
import cv2, numpy as np, pytest
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label, regionprops
from rsqi.pairs import (AREAS, Facts, Pair, answer, answer_any, caption, describe, direction, every_pair, facts, facts_in,
                        labels_of, largest, normalise, pairs, pairs_of, words, write_pairs)
from rsqi.taxonomy import Taxonomy, default_taxonomy

TAX, LANGS = default_taxonomy(), ('zh','en')
VALUES = st.sampled_from([0, 255, *range(1, 11)])
SHAPES = st.one_of(st.just((1,1)), st.tuples(st.just(1), st.integers(1,60)), st.tuples(st.integers(1,60), st.just(1)),
                   st.tuples(st.integers(1,40), st.integers(1,40)))
seeds = st.integers(0, 2**32)


@st.composite
def patches(draw):
    "A mask of a few rectangles on ground, or on nothing"
    h, w = draw(SHAPES)
    mask = np.full((h,w), draw(st.sampled_from([0,0,0,255])), np.uint8)
    for _ in range(draw(st.integers(0, 6))):
        y, x = draw(st.integers(0, h-1)), draw(st.integers(0, w-1))
        mask[y:y+draw(st.integers(1, h)),x:x+draw(st.integers(1, w))] = draw(VALUES)
    return mask

noise = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=VALUES))
masks = st.one_of(patches(), noise)


def drawn(angle, width, bend=0, size=160):
    ends = [np.radians(180+angle-bend/2), np.radians(angle+bend/2)]
    points = [(size/2+.42*size*np.cos(a), size/2+.42*size*np.sin(a)) for a in ends]
    line = np.rint([points[0], (size/2,size/2), points[1]]).astype(np.int32)
    return cv2.polylines(np.zeros((size,size), np.uint8), [line], False, 1, width)


# facts, against a second way to measure them

@settings(max_examples=200, deadline=None)
@given(masks)
def test_facts_are_those_of_the_mask(mask):
    valid = int((mask!=255).sum())
    for p in facts_in(mask).presences:
        mine = mask==p.defect.value
        least = 1e-4 if p.defect.family=='region' else 0
        assert p.pixels==mine.sum() and p.share==mine.sum()/max(valid, 1)
        assert p.present==bool(mine.any() and p.share>=least)
        if not p.present: continue
        parts = regionprops(label(mine, connectivity=2))
        assert p.count==max(sum(r.area>=least*mask.size for r in parts), 1)
        main = max(parts, key=lambda r: (r.area, -np.ravel_multi_index(r.coords[0], mask.shape)))
        row, column = (int(3*(c+.5)/n+1e-12) for c,n in zip(main.centroid, mask.shape))
        on_an_edge = any(abs(3*(c+.5)/n-round(3*(c+.5)/n))<1e-9 for c,n in zip(main.centroid, mask.shape))
        assert p.position==3*row+column or on_an_edge
        assert (p.direction in ('horizontal','vertical','oblique','bent'))==(p.defect.family=='boundary')

def test_specks_are_not_counted_but_add_to_the_area():
    mask = np.zeros((512,512), np.uint8)
    mask[10:40,10:40] = 1
    mask[100:500:10,100:500:10] = 1
    p = facts_in(mask).presences[0]
    assert (p.count, p.pixels, p.position)==(1, 900+1600, 0)
    only_specks = np.where(mask & (np.indices(mask.shape)[0]>=100), 1, 0)
    assert facts_in(only_specks).presences[0].count==1

def test_ignored_ground_is_no_ground():
    mask = np.full((100,100), 255, np.uint8)
    mask[:10,:10] = 0
    mask[:4,:10] = 1
    assert '大面积' in answer(facts_in(mask).presences[0])

@pytest.mark.parametrize('share,zh,en', [
    (1,'大','large'), (.4,'大','large'), (.3999,'中等','medium-sized'), (.1,'中等','medium-sized'),
    (.0999,'小','small'), (.01,'小','small'), (.0099,'微小','tiny'), (.0001,'微小','tiny')])
def test_area_words(share, zh, en):
    mask = np.zeros(10_000, np.uint8)
    mask[:round(share*10_000)] = 4
    p = facts_in(mask.reshape(100,100)).presences[3]
    assert f'一处{zh}面积的模糊' in answer(p) and f'over a {en} area' in answer(p, 'en')

@pytest.mark.parametrize('pixels', range(1, 28))
def test_the_last_bin_of_table_b2_is_for_regions_alone(pixels):
    for d in TAX:
        mask = np.zeros((512,512), np.uint8)
        mask[3,:pixels] = d.value
        assert bool(facts_in(mask).labels.any())==(d.family!='region' or pixels>26)


# where

MIRRORS = {'left-right': (lambda m: m[:,::-1], lambda y, x: (y, 2-x)), 'upside-down': (lambda m: m[::-1], lambda y, x: (2-y, x)),
           'turned': (lambda m: m.T, lambda y, x: (x, y))} # name -> what it does to a mask, and to a cell of the nine-grid

@settings(max_examples=200, deadline=None)
@given(masks, st.sampled_from(list(MIRRORS)))
def test_mirrored_masks_have_mirrored_positions(mask, how):
    act, swap = MIRRORS[how]
    for before,after in zip(facts_in(mask).presences, facts_in(act(mask)).presences):
        assert (before.present, before.pixels, before.count)==(after.present, after.pixels, after.count)
        if not before.present: continue
        sizes, ys, xs = largest(mask==before.defect.value)
        cells = [3*(c.mean()+.5)/n for c,n in zip((ys,xs), mask.shape)]
        tie, edge = (sizes==sizes.max()).sum()>1, any(abs(c-round(c))<1e-9 for c in cells)
        if tie or edge: continue
        assert divmod(after.position, 3)==swap(*divmod(before.position, 3))

@pytest.mark.parametrize('row,column', [*product(range(3), range(3))])
def test_position_words(row, column):
    mask = np.zeros((90,60), np.uint8)
    mask[row*30+15,column*20+10] = 10
    zh = (('左上角','上方','右上角'), ('左侧','中间','右侧'), ('左下角','下方','右下角'))[row][column]
    assert answer(facts_in(mask).presences[9])==f'是,这张卫星图像中存在一处像素缺失,主要位于图像的{zh}。'
    assert words('en')['position'][3*row+column] in answer(facts_in(mask).presences[9], 'en')


# which way

@settings(max_examples=120, deadline=None)
@given(st.integers(0, 179), st.integers(1, 30), st.sampled_from([0, 10, 20, 35, 60, 90]))
def test_direction_of_a_drawn_line(angle, width, bend):
    folded = min(angle, 180-angle)
    assume(min(abs(folded-30), abs(folded-60))>2)
    word = direction(*np.nonzero(drawn(angle, width, bend)))
    assert word==('bent' if bend>20 else 'horizontal' if folded<30 else 'vertical' if folded>60 else 'oblique')

@settings(max_examples=60, deadline=None)
@given(st.integers(0, 179), st.integers(1, 30), st.sampled_from([0, 10, 35, 60, 90]))
def test_turning_a_line_turns_its_word(angle, width, bend):
    line = drawn(angle, width, bend)
    word = direction(*np.nonzero(line))
    turned = dict(horizontal='vertical', vertical='horizontal').get(word, word)
    assert direction(*np.nonzero(line.T))==turned and direction(*np.nonzero(line[::-1]))==word

@settings(max_examples=60, deadline=None)
@given(st.integers(0, 179), st.integers(1, 60), st.integers(-60, 60))
def test_a_line_cut_by_the_border_is_straight(angle, width, away):
    y, x = np.mgrid[:300,:300]-149.5
    t = np.radians(angle)
    band = abs(y*np.cos(t)-x*np.sin(t)-away)<=width/2
    assume(len(band.nonzero()[0])>100)
    assert direction(*np.nonzero(band))!='bent'

@pytest.mark.parametrize('width', [1, 2, 5, 9])
def test_loops_and_crosses_are_bent(width):
    rectangle = cv2.rectangle(np.zeros((100,120), np.uint8), (15,15), (100,80), 1, width)
    ring = cv2.circle(np.zeros((99,99), np.uint8), (50,50), 35, 1, width)
    for closed in (rectangle, ring, drawn(0, width)|drawn(90, width)): assert direction(*np.nonzero(closed))=='bent'

@pytest.mark.parametrize('zh,en,line', [
    ('横线','horizontal',drawn(0,3)), ('竖线','vertical',drawn(90,3)), ('斜线','oblique',drawn(45,3)), ('折线','bent',drawn(0,3,60))])
def test_direction_words(zh, en, line):
    for d in TAX.family('boundary'):
        p = facts_in(line*d.value).presences[d.value-1]
        assert answer(p)==f'是,这张卫星图像中存在一条{d.zh}的痕迹,位于图像的中间,大致是{zh}。'
        assert answer(p, 'en').endswith(f'roughly {en}.')


# sentences

@settings(max_examples=150, deadline=None)
@given(masks)
def test_every_answer_agrees_with_the_mask(mask):
    known = facts_in(mask)
    for lang in LANGS:
        first, *each = every_pair(known, lang)
        assert first.kind=='any' and first.yes==bool(known.labels.any()) and len(each)==len(TAX)
        assert (labels_of(first.answer)==known.labels).all()
        for d,p in zip(TAX, each):
            assert (p.defect, p.kind, p.yes)==(d.key, d.family, known.labels[d.value-1])
            assert p.answer.startswith(words(lang)['yes' if p.yes else 'no'])
            assert getattr(d, lang).lower() in p.question and getattr(d, lang).lower() in p.answer
            assert (labels_of(p.answer)==(np.arange(10)==d.value-1)*p.yes).all()

@settings(max_examples=150, deadline=None)
@given(masks, st.sampled_from([None, .5, 30]))
def test_no_sentence_leaves_a_gap(mask, gsd):
    for lang in LANGS:
        said = [t for p in every_pair(facts_in(mask), lang) for t in (p.question, p.answer)]
        for t in [*said, caption(mask, lang), describe(mask, lang, gsd)]:
            stop = '?' if t in said[::2] else words(lang)['any']['no'][-1]
            assert not re.search(r'[{}]|None|nan|  ', t) and t[-1]==stop, t
            assert t.isascii()==(lang=='en')

@settings(max_examples=150, deadline=None)
@given(masks, st.sampled_from(LANGS), st.sampled_from([None, .5, 30]))
def test_captions_labels_and_descriptions_tell_the_same(mask, lang, gsd):
    labels = facts_in(mask).labels
    assert (labels_of(caption(mask, lang))==labels).all() and (labels_of(describe(mask, lang, gsd))==labels).all()
    if (mask!=255).any(): assert caption(mask, lang)==caption(labels, lang)==describe(mask, lang)

@pytest.mark.parametrize('shape', [(1,1), (1,9), (9,1), (5,8)])
@pytest.mark.parametrize('dtype', [np.uint8, np.int64, np.uint64])
def test_clean_and_ignored_masks(shape, dtype):
    clean, nothing = np.zeros(shape, dtype), np.full(shape, 255, dtype)
    assert (caption(clean), caption(clean, 'en'))==('卫星图像完全合格。', 'Satellite image fully qualified.')
    assert '合格' not in caption(nothing) and pairs(nothing, np.random.default_rng(0), keep=1)==[]
    assert [p.answer for p in pairs(clean, np.random.default_rng(0), mode='paper', keep=1)]==['否,这张卫星图像没有质量问题。']

@settings(max_examples=200, deadline=None)
@given(st.permutations(range(10)), st.integers(0, 10), st.randoms(use_true_random=False))
def test_captions_are_understood_in_any_order_and_under_any_name(order, n, random):
    some = [TAX.defects[i] for i in order[:n]]
    names = [random.choice([d.key, d.en, d.zh, *d.aliases]) for d in some]
    wanted = np.isin(np.arange(10), order[:n])
    shouted = '， '.join(n.upper() for n in names)
    for text in ('卫星图像中存在'+'、'.join(names)+'。', 'A picture with '+' and '.join(names), shouted):
        assert (labels_of(text)==wanted).all(), text
    assert not labels_of('这张图像中不存在'+'、'.join(names)).any() and not labels_of('no '+' or '.join(names)).any()

def test_captions_survive_a_tokenizer():
    "BERT puts a blank between Chinese characters and may drop the full stop"
    for d in TAX: assert labels_of(' '.join(caption(np.eye(10)[d.value-1])[:-1])).nonzero()[0].tolist()==[d.value-1]

# A hand-written table: what a captioning model or an inspector may write -> the defects that it says are there
WORDINGS = """
A cloud-free image -> | cloud free -> | Cloud is absent -> | a haze-free, shadow-free image ->
devoid of cloud, shadow and blur -> | There aren't any clouds -> | There isn't cloud there -> | I cannot see cloud ->
I can’t see any cloud -> | The scene hasn't any cloud -> | clouds were not found -> | no sign of cloud ->
never any cloud -> | without cloud or shadow -> | Neither cloud, shadow nor blur ->
No thick clouds, heavy shadows or strong blur -> | no clouds, shadows, and blur -> | no cloud and shadow ->
Absent: cloud, blur -> | cloud, shadow and blur are absent -> | no defects such as cloud, shadow or blur ->
It's unclear whether there is cloud. -> | no shadow, and blur -> blur | no cloud, but shadow -> shadow
No cloud; shadow -> shadow | No cloud, shadow is visible -> shadow | not cloud but shadow -> shadow
cloud, not shadow -> cloud | Neither cloud nor shadow, only blur -> blur | no clouds but stripes -> stripe_noise
Clouds are not present but shadows are -> shadow | cloud is not visible, shadow is -> shadow
shadow is present but not cloud -> shadow | There is cloud and no visible shadow -> cloud
cloud-free image with shadow -> shadow | with clouds and without shadows -> cloud
Image with cloud, shadow is absent -> cloud | cloud is absent and shadow is present -> shadow
I don't see clouds, I see shadows -> shadow | Not only cloud but also shadow -> cloud shadow
nothing but cloud -> cloud | No defects except cloud -> cloud | The blur is not absent -> blur
cloud and no other defects -> cloud | Apart from cloud, there are no problems -> cloud
no problems other than blur -> blur | cloud: none, shadow: present -> shadow
Cloud: yes. Shadow: no. Blur: yes. -> cloud blur | cloud present, shadow absent, blur present -> cloud blur
Ground cannot be seen because of cloud -> cloud | not acceptable: cloud -> cloud
The left part is blurred, the right part is not -> blur | Is there cloud? No. -> | Is there cloud? Yes. -> cloud
Is there cloud? -> | Does it have blur? It does not. -> | cloud? no. shadow? yes. -> shadow
Is there cloud? No, but there is shadow. -> shadow | Is there cloud? Yes, in the upper left, but no shadow. -> cloud
Are there clouds or shadows? Neither. -> | Are there clouds or shadows? Only shadows. -> shadow | 图像无云 -> | 没云 ->
晴空无云 -> | 云不存在 -> | 看不到云 -> | 云量为零 -> | 云未被发现 -> | 未被云遮挡 -> | 所有区域无云 -> | 无云、无阴影 -> | 无云、阴影 -> | 不存在云,阴影 ->
云、阴影均不存在 -> | 云和阴影都没有 -> | 既无云也无阴影 -> | 没有明显阴影 -> | 没有发现任何云、阴影、模糊等缺陷 -> | 图像质量良好，未发现云、条纹 -> | 没有像素缺失 -> | 无任何质量问题 ->
无云有阴影 -> shadow | 没有云，有阴影 -> shadow | 无云，阴影明显 -> shadow | 未见云，但阴影明显 -> shadow | 没有云而有阴影 -> shadow | 不是云而是阴影 -> shadow
云没有，阴影有 -> shadow | 云:无,阴影:有 -> shadow | 云不可见，阴影可见 -> shadow | 除阴影外，未见云 -> shadow | 有云无阴影 -> cloud | 有云，没有阴影 -> cloud
存在云,阴影不存在 -> cloud | 除云外无其他问题 -> cloud | 只有云，没有别的缺陷 -> cloud | 不仅有云，还有阴影 -> cloud shadow | 无人机影像有云 -> cloud
无法看清地面,有云 -> cloud | 图像不合格:存在云 -> cloud | 没有拼接错误，有错位 -> stitching_misalignment | 不含云；含拼接痕迹 -> stitching_trace
无云且无阴影，但有条纹 -> stripe_noise | 没有云也没有阴影，仅有模糊 -> blur | 没有云，模糊严重 -> blur | 本图含云、阴影，不含模糊 -> cloud shadow | 有阴影吗?没有阴影。->
是否存在云？否。 -> | 是否存在云？是。 -> cloud | 有没有云？ -> | 是否有云:否 -> | 有云吗？没有。有阴影吗？有。 -> shadow | 是否有云？没有，但有阴影。 -> shadow
有没有阴影？有，位于左上角。 -> shadow
"""

WORDINGS = [w.split('->') for line in WORDINGS.strip().splitlines() for w in line.split(' | ')]

@pytest.mark.parametrize('text,meant', WORDINGS)
def test_denials(text, meant):
    assert [d.key for d,k in zip(TAX, labels_of(text.strip())) if k]==meant.split(), text

@settings(max_examples=150, deadline=None)
@given(masks)
def test_a_question_waits_for_its_answer(mask):
    for lang in LANGS:
        for p in every_pair(facts_in(mask), lang)[1:]:
            wanted = (np.arange(10)==TAX[p.defect].value-1)*p.yes
            assert not labels_of(p.question).any() and (labels_of(p.question+p.answer)==wanted).all()
            assert (labels_of(p.question+words(lang)['yes' if p.yes else 'no']+'.')==wanted).all()

@given(st.text(max_size=40))
def test_any_text_is_read(text): assert labels_of(text).shape==(10,)

SAID = [t for lang in LANGS for p in every_pair(facts(np.ones(10)), lang) for t in (p.question, p.answer)]
SPOKEN = sorted(set(''.join(SAID)) | set(' 　，、。？！：；,.?_ＡＢ\n\t'))

@given(st.text(SPOKEN, max_size=40))
def test_normalising_twice_changes_nothing(text): assert normalise(normalise(text))==normalise(text)

def test_the_wording_is_the_papers():
    "Table B1, with a full stop at every end"
    mask = np.zeros((60,60), np.uint8)
    mask[:20,:20], mask[50:,50:], mask[30,:] = 1, 1, 8
    got = [p.answer for p in every_pair(facts(mask)) if p.yes]
    assert got==['是,这张卫星图像有质量问题,问题类型有:云,拼接错误。', '是,这张卫星图像中存在多处中等面积的云,主要位于图像的左上角。',
                 '是,这张卫星图像中存在一条拼接错误的痕迹,位于图像的中间,大致是横线。']
    assert [p.question for p in every_pair(facts(mask))[:2]]==['这张卫星图像是否存在质量问题?', '这张卫星图像中是否存在云?']
    found = answer_any(facts(mask), 'en')
    assert found=='Yes, this satellite image has quality problems: cloud and stitching misalignment.'


# sampling

@settings(max_examples=100, deadline=None)
@given(masks, seeds, st.sampled_from(['default','paper']), st.floats(0, 1))
def test_sampling(mask, seed, mode, keep):
    ask = lambda lang: pairs(mask, np.random.default_rng(seed), lang, mode, keep)
    zh, en, known = ask('zh'), ask('en'), facts_in(mask)
    assert zh==ask('zh') and [(p.kind, p.defect, p.yes) for p in zh]==[(p.kind, p.defect, p.yes) for p in en]
    assert {p.defect for p in zh if p.yes and p.defect}=={p.defect.key for p in known.found}
    assert len({p.question for p in zh})==len(zh) and set(zh)<=set(every_pair(known))
    if mode=='paper' and not known.found: assert all(p.defect is None for p in zh)

@pytest.mark.parametrize('mode,asked', [('default',11), ('paper',1)])
def test_a_fifth_of_the_negatives_is_kept(mode, asked):
    rng, clean, n = np.random.default_rng(0), np.zeros(10), 4000
    kept = sum(len(pairs(clean, rng, mode=mode)) for _ in range(n))
    assert abs(kept/(n*asked)-.2)<4*np.sqrt(.16/(n*asked))
    assert [len(pairs(clean, rng, mode=mode, keep=k)) for k in (0,1)]==[0, asked]

def test_an_image_is_asked_the_same_in_any_company(tmp_path):
    blocks = [(f'块{i}', np.full((4,5), i%11, np.uint8)) for i in range(30)]
    whole, alone = list(pairs_of(blocks, 7)), [row for b in blocks[::-1] for row in pairs_of([b], 7)]
    assert sorted(whole, key=str)==sorted(alone, key=str) and whole!=list(pairs_of(blocks, 8))
    assert write_pairs(whole, tmp_path/'qa.jsonl')==len(whole)
    rows = [json.loads(line) for line in (tmp_path/'qa.jsonl').read_text(encoding='utf-8').splitlines()]
    assert [(r.pop('id'), Pair(**r)) for r in rows]==whole and [p.name for p in tmp_path.iterdir()]==['qa.jsonl']


def test_pairs_are_written_where_no_folder_is(tmp_path):
    rows = list(pairs_of([('a', np.ones((4,4), int))]))
    path = tmp_path/'new'/'deep'/'qa.jsonl'
    assert write_pairs(rows, path)==len(rows)==len(path.read_text(encoding='utf-8').splitlines())
    (tmp_path/'file').touch()
    with pytest.raises(ValueError, match='^[^\n]*name another folder$'): write_pairs(rows, tmp_path/'file'/'qa.jsonl')

def test_a_table_of_ones_own():
    wider = Taxonomy((*TAX, replace(TAX['cloud'], value=11, key='snow', en='Snow', zh='积雪', aliases=())))
    snow, rng = np.full((5,5), 11), np.random.default_rng(0)
    assert [p.defect for p in pairs(snow, rng, keep=0, taxonomy=wider)]==[None, 'snow']
    assert {p.defect for _,p in pairs_of([('a', snow)], taxonomy=wider) if p.yes}=={None, 'snow'}


# what is refused, and how facts of another source are said

@pytest.mark.parametrize('mask', [
    *(np.full((2,2), v) for v in (11, -1, 254, 256)), np.zeros((2,2)), np.zeros((2,2), bool), np.zeros((0,3), int),
    np.zeros((2,2,3), int), np.array(1)])
def test_what_is_no_mask_is_refused_in_one_line(mask):
    for ask in (caption, describe, facts_in, lambda m: pairs(m, np.random.default_rng(0))):
        with pytest.raises(ValueError, match='^a mask (is|holds) .*; got .+') as e: ask(mask)
        assert '\n' not in str(e.value)

def test_other_refusals_say_the_way_out():
    rng, mask = np.random.default_rng(0), np.zeros((2,2), int)
    for wrong,why in (
        (lambda: pairs(mask, rng, 'fr'), "zh or en; got 'fr'"), (lambda: caption(mask, 'de'), "got 'de'"),
        (lambda: pairs(mask, rng, mode='x'), 'default or paper'), (lambda: pairs(mask, rng, keep=1.5), '1.5'),
        (lambda: pairs(mask, rng, keep=float('nan')), 'nan'), (lambda: caption([1,0]), r'\(10,\)'),
        *((lambda g=g: describe(mask, gsd=g), 'per pixel above 0') for g in (0, float('nan'), '0.5', True, (1,1)))):
        with pytest.raises(ValueError, match=why): wrong()

@given(arrays(bool, 10), st.sampled_from(LANGS))
def test_labels_alone_give_short_answers(labels, lang):
    known = facts(labels)
    assert isinstance(known, Facts) and (known.labels==labels).all()
    assert [p.yes for p in every_pair(known, lang)[1:]]==labels.tolist()
    assert (labels_of(caption(labels, lang))==labels).all()

def test_both_languages_have_the_same_templates():
    def shape(v):
        if isinstance(v, dict): return {k: shape(row) for k,row in v.items()}
        return set(re.findall(r'{\w+}', v)) if isinstance(v, str) else None
    assert shape(words('zh'))==shape(words('en'))
    for lang in LANGS: assert [len(words(lang)[k]) for k in ('count','area','position')]==[2, len(AREAS)+1, 9]
