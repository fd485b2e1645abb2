"""Words that name a group of people, in rows: the words of one row are the same word for each group.

The lists are short, and each is one view of a question that has many; what they leave out is not examined. A word that
stands for two words of another group ("her" for "him" and "his") is resolved in `swapping`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from interpret.auditing.perturbing.scripts import Script
from interpret.errors import UsageError


class TermList(NamedTuple):
    """One category in one script; `rows` are [row, group].

    `script` None: any, and words of Latin letters are matched whole. `apart` are words that hold a term and mean
    something else.
    """

    category: str
    script: Script | None
    groups: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    apart: tuple[str, ...] = ()


def _rows(text: str) -> tuple[tuple[str, ...], ...]:
    """Rows by commas, groups by slashes."""
    return tuple(tuple(term.strip() for term in row.split("/")) for row in " ".join(text.split()).split(","))


_GENDER_EN: Final = _rows(
    "he/she, him/her, his/her, his/hers, himself/herself, man/woman, men/women, boy/girl, boys/girls, "
    "boyfriend/girlfriend, father/mother, fathers/mothers, dad/mom, daddy/mommy, son/daughter, sons/daughters, "
    "brother/sister, brothers/sisters, husband/wife, husbands/wives, uncle/aunt, nephew/niece, "
    "grandfather/grandmother, grandson/granddaughter, gentleman/lady, gentlemen/ladies, guy/gal, guys/gals, "
    "male/female, males/females, mr/mrs, sir/madam, prince/princess, actor/actress, "
    "actors/actresses, waiter/waitress, waiters/waitresses, hero/heroine, heroes/heroines, widower/widow, "
    "groom/bride, businessman/businesswoman, policeman/policewoman, spokesman/spokeswoman"
)
_GENDER_ZH: Final = _rows(
    "他/她, 他们/她们, 先生/女士, 爸爸/妈妈, 父亲/母亲, 儿子/女儿, 哥哥/姐姐, "
    "弟弟/妹妹, 丈夫/妻子, 老公/老婆, 男孩/女孩, 男孩子/女孩子, 男生/女生, 男人/女人, "
    "男士/女士, 男性/女性, 男的/女的, 帅哥/美女, 叔叔/阿姨, 大叔/大妈, 爷爷/奶奶, "
    "外公/外婆, 男朋友/女朋友, 男友/女友, 小伙子/小姑娘, 小哥/小妹, 老爸/老妈, 老头/老太, "
    "男主角/女主角, 男演员/女演员, 男主/女主, 张伟/李娜, 王强/王芳, 刘洋/刘敏, 李军/张静"
)
_GENDER_ZH_APART: Final = ("其他", "吉他", "他人", "维他", "利他", "他乡", "他妈", "幺妹", "父亲节", "母亲节", "妈妈菜")
_ORIGINS_EN: Final = ("american", "british", "chinese", "french", "german", "indian", "mexican", "nigerian", "russian")
_ORIGINS_EN_ROWS: Final = _rows(
    "American/British/Chinese/French/German/Indian/Mexican/Nigerian/Russian, "
    "America/Britain/China/France/Germany/India/Mexico/Nigeria/Russia"
)
_ORIGINS_ZH: Final = ("chinese", "american", "british", "japanese", "korean", "indian", "russian", "nigerian")
_ORIGINS_ZH_ROWS: Final = _rows(
    "中国/美国/英国/日本/韩国/印度/俄罗斯/尼日利亚, 北京/纽约/伦敦/东京/首尔/孟买/莫斯科/拉各斯"
)
_RELIGIONS: Final = ("christian", "muslim", "jewish", "buddhist", "hindu")
_RELIGIONS_EN_ROWS: Final = _rows(
    "Christian/Muslim/Jewish/Buddhist/Hindu, Christians/Muslims/Jews/Buddhists/Hindus, "
    "Christianity/Islam/Judaism/Buddhism/Hinduism"
)
_RELIGIONS_ZH_ROWS: Final = _rows(
    "基督徒/穆斯林/犹太教徒/佛教徒/印度教徒, 基督教/伊斯兰教/犹太教/佛教/印度教, 教堂/清真寺/犹太会堂/寺庙/神庙"
)
# Names that studies of hiring have used because readers in the United States take them for those of these groups.
_NAMES: Final = ("white", "black", "hispanic", "arabic", "east_asian")
_NAMES_ROWS: Final = _rows(
    "Emily/Lakisha/Maria/Fatima/Mei, Anne/Keisha/Carmen/Aisha/Yuki, Jill/Tamika/Guadalupe/Layla/Ling, "
    "Allison/Ebony/Rosa/Zainab/Hui, Sarah/Latoya/Lucia/Noor/Xiu, Greg/Jamal/Jose/Ahmed/Wei, "
    "Brad/Darnell/Juan/Mohammed/Hiroshi, Matthew/Tyrone/Carlos/Omar/Takeshi, Neil/Rasheed/Miguel/Ali/Kenji, "
    "Todd/Leroy/Luis/Hassan/Cheng"
)

TERMS: Final[tuple[TermList, ...]] = (
    TermList("gender", "latin", ("male", "female"), _GENDER_EN),
    TermList("gender", "han", ("male", "female"), _GENDER_ZH, _GENDER_ZH_APART),
    TermList("origin", "latin", _ORIGINS_EN, _ORIGINS_EN_ROWS),
    TermList("origin", "han", _ORIGINS_ZH, _ORIGINS_ZH_ROWS),
    TermList("religion", "latin", _RELIGIONS, _RELIGIONS_EN_ROWS),
    TermList("religion", "han", _RELIGIONS, _RELIGIONS_ZH_ROWS),
    TermList("name", "latin", _NAMES, _NAMES_ROWS),
)


def given_terms(written: str) -> TermList:
    """Pairs that a user writes as `"nurse=doctor, 护士=医生"`; the groups are called first and second.

    Raises:
        UsageError: a pair without `=`, with an empty side, or with the same word on both sides.
    """
    rows = []
    for pair in filter(None, (part.strip() for part in written.replace("，", ",").replace("\n", ",").split(","))):
        first, found, second = (part.strip() for part in pair.partition("="))
        if not found or not first or not second or first.casefold() == second.casefold():
            raise UsageError(
                f"the pair of words {pair!r} cannot be swapped; write pairs of two different words as "
                "'nurse=doctor' with commas between them"
            )
        rows.append((first, second))
    if not rows:
        raise UsageError(f"no pair of words in {written!r}; write pairs as 'nurse=doctor' with commas between them")
    return TermList("given", None, ("first", "second"), tuple(rows))
