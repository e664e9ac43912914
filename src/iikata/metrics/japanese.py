"""Spellings of one Japanese word brought to one: old kanji, loan words, small ケ, the last long vowel, separators."""

import regex

# 常用漢字表 (内閣告示 2010) prints these forms in brackets behind the ones of today.
OLD = (
    "亞惡壓圍醫爲壹隱榮營驛圓鹽緣應歐毆櫻奧橫溫穩假價畫會繪壞懷擴殼覺學嶽樂渴罐卷陷勸寬關歡觀氣龜歸僞戲犧舊據舉虛峽挾狹鄉曉區驅薰勳徑莖惠揭溪經螢輕繼雞藝擊缺縣儉劍險圈檢獻權顯驗嚴廣效恆黃鑛號國黑碎濟齋歲劑"
    "雜參棧蠶慘贊殘絲齒兒辭溼實寫釋壽收從澀獸縱肅處敘涉燒稱證奬將條狀乘淨剩疊繩壤孃讓釀觸囑寢盡圖粹醉隨髓樞數瀨聲齊靜竊攝專淺戰踐錢潛纖禪雙壯爭莊搜插巢曾瘦裝總騷增藏臟屬續墮對體帶滯臺瀧擇澤擔單膽團斷彈遲癡"
    "蟲晝鑄廳徵聽敕遞鐵點轉傳燈當黨盜稻鬥德獨讀屆貳惱腦霸拜廢賣麥發髮拔晚蠻祕濱拂佛邊變辨瓣辯步寶豐沒每萬滿麪默彌譯藥與豫餘譽搖樣謠來賴亂覽龍兩獵綠淚壘禮勵戾靈齡曆歷戀爐勞樓錄灣衞艷槪擧鄕鷄濕澁敍眞愼卽鎭鬭"
    "甁倂竝襃飜麵隸"
)
NEW = (
    "亜悪圧囲医為壱隠栄営駅円塩縁応欧殴桜奥横温穏仮価画会絵壊懐拡殻覚学岳楽渇缶巻陥勧寛関歓観気亀帰偽戯犠旧拠挙虚峡挟狭郷暁区駆薫勲径茎恵掲渓経蛍軽継鶏芸撃欠県倹剣険圏検献権顕験厳広効恒黄鉱号国黒砕済斎歳剤"
    "雑参桟蚕惨賛残糸歯児辞湿実写釈寿収従渋獣縦粛処叙渉焼称証奨将条状乗浄剰畳縄壌嬢譲醸触嘱寝尽図粋酔随髄枢数瀬声斉静窃摂専浅戦践銭潜繊禅双壮争荘捜挿巣曽痩装総騒増蔵臓属続堕対体帯滞台滝択沢担単胆団断弾遅痴"
    "虫昼鋳庁徴聴勅逓鉄点転伝灯当党盗稲闘徳独読届弐悩脳覇拝廃売麦発髪抜晩蛮秘浜払仏辺変弁弁弁歩宝豊没毎万満麺黙弥訳薬与予余誉揺様謡来頼乱覧竜両猟緑涙塁礼励戻霊齢暦歴恋炉労楼録湾衛艶概挙郷鶏湿渋叙真慎即鎮闘"
    "瓶併並褒翻麺隷"
)
KANJI = str.maketrans(OLD, NEW) | str.maketrans("ヵヶ", "カケ")
"""Small ヵ and ヶ too: of one name both are in use (関ヶ原, 関ケ原)."""

# 外来語の表記 (内閣告示 1991), 留意事項その2, II: what may be written for the letters of its second table.
LOANS = {
    **{
        "ヴァ": "バ",
        "ヴィ": "ビ",
        "ヴェ": "ベ",
        "ヴォ": "ボ",
        "ヴュ": "ビュ",
        "ヴ": "ブ",
        "イェ": "イエ",
        "ツィ": "チ",
    },
    **{"ウィ": "ウイ", "ウェ": "ウエ", "ウォ": "ウオ", "テュ": "チュ", "フュ": "ヒュ", "グァ": "グア"},
    **{"クァ": "クア", "クィ": "クイ", "クェ": "クエ", "クォ": "クオ"},
}
LOAN = regex.compile("|".join(LOANS))
KATAKANA = "[ァ-ヺー]"
# JIS Z 8301:2008, G.6.2.2: コンピュータ for コンピューター, where three letters or more stand before.
LAST_LONG_VOWEL = regex.compile(rf"(?<={KATAKANA}{{3}})ー(?!{KATAKANA})")
# ＝ is typed for ゠ (JIS X 0213 1-3-91), which stands between the parts of a foreign name as ・ does.
DOUBLE_HYPHEN = regex.compile(rf"(?<={KATAKANA})=(?={KATAKANA})")
# 公用文作成の考え方 (文化審議会 2022), I-2: か for 箇 in 3か月; 3ヶ月 and 3カ月 are the same.
# Of one place 霞が関, 霞ヶ関 and 霞ケ関 are in use (a rule of ours: no list says which of them is meant).
GA = regex.compile(r"(?<=\p{Han})が(?=\p{Han})")
COUNTER = regex.compile("(?<=[0-9数何])[かカケ箇](?=[月国所年条村])")


def respelt(text: str) -> str:
    """Return NFKC `text`, its numbers in digits, with one spelling for each word that has several."""
    if text.isascii():
        return text
    text = LOAN.sub(lambda match: LOANS[match[0]], text.translate(KANJI))
    text = DOUBLE_HYPHEN.sub("・", LAST_LONG_VOWEL.sub("", text))
    return COUNTER.sub("カ", GA.sub("ケ", text))
