"""The phrases of the verdict in English and Japanese, a phrase a line."""

# ruff: noqa: E501  (a sentence is easier to check whole than cut at a column)

PHRASES = {
    "en": {
        "factor_NONE": "Whether {factor} matters was not assessed: {factors} that were trained, prompted alike and scored by {metric} are fewer than two.",
        "factor_EACH": "Whether {factor} matters for {metric} is not summed up: its {n} comparisons, each at one of the other settings, only explore (Benjamini-Hochberg).",
        "factor_MATTERS": "{Factor} matters for {metric}: each trained and prompted alike, {worse} does worse than {better} by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "factor_SMALL": "{Factor} makes a difference for {metric}, but one smaller than the declared margin of {margin}: {a} minus {b} is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "factor_EQUIVALENT": "For {metric} {factors} are equivalent within the declared margin of {margin}: trained and prompted alike, the {level_90} interval of every pair ({n}) lies inside ±{margin}; the one that reaches farthest is {a} minus {b}, {interval_90}.",
        "factor_NOT_ASSESSABLE": "Whether {factor} matters for {metric} cannot be assessed: a check failed between {a} and {b} ({gates}).",
        "of_pairs": "({k} of {n} pairs have this verdict.)",
        "lora_NONE": "Whether LoRA was needed was not assessed: there are no scores by {metric} of both a tuned and the untuned model.",
        "lora_YES": "LoRA was needed for {metric}: {a} does better than the untuned model under its best template ({b}, chosen on {choosing} other {things}) by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "lora_HARMED": "LoRA did harm for {metric}: {a} does worse than the untuned model under its best template ({b}, chosen on {choosing} other {things}) by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "lora_SMALL": "LoRA changed {metric}, but by less than the declared margin of {margin}: {a} minus {b}, the untuned model under its best template, is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "lora_NO": "LoRA was not needed for {metric}: {a} and {b}, the untuned model under its best template, are equivalent within the declared margin of {margin} ({level_90} interval of the difference {interval_90}).",
        "lora_NOT_ASSESSABLE": "Whether LoRA was needed for {metric} cannot be assessed: a check failed between {a} and {b} ({gates}).",
        "beyond": "The whole interval lies beyond the declared margin of {margin}.",
        "beyond_open": "Whether the difference exceeds the declared margin of {margin} is open.",
        "no_margin": "There is no margin, so whether the difference is large enough to care about is not judged.",
        "mde": "An experiment of this size finds a true difference of {mde} four times out of five.",
        "mde_none": "An experiment of this size cannot be relied on to find any difference.",
        "changed": "Changed after scores existed ({at}): {changes}.",
        "change": "{setting} {first} -> {now}",
        "change_of_probe": "{setting} {now}",
        "more": "{n} more",
        "first": "As first declared: {sentence}",
        "margin_changed": "declared margin|changed margin",
        "margin_late": "declared margin|margin (declared after scores existed)",
        "first_lost": "The verdict as first declared is no longer known.",
        "now": "As changed: {sentence}",
        "recipe": "This speaks about the training recipe ({n_seeds}, {n_clusters}).",
        "factor_open": "Whether {factor} matters for {metric} is open: ",
        "lora_open": "Whether LoRA was needed for {metric}, that is whether {a} does better than {b}, the untuned model under its best template, is open: ",
        "too_few": "{n_seeds} and {n_clusters} are too few for any claim (3 {replicates} or 10 {things} are the least{with_choosing}). Seen was {a} minus {b}: {difference} ({level} interval {interval}).",
        "too_few_no_interval": "{n_seeds} and {n_clusters} are too few for any claim (3 {replicates} or 10 {things} are the least{with_choosing}).",
        "no_interval": "these scores give no interval for {a} minus {b}.",
        "alone": "taken alone, {a} and {b} differ (difference {difference}, {level} interval {interval}), but not once Holm's correction counts all comparisons of this question (adjusted {p}).",
        "neither": "the data neither settle that there is a difference nor rule out one of {margin} ({a} minus {b}: {difference}, {level} interval {interval}).",
        "neither_no_margin": "the data do not settle that {a} and {b} differ (difference {difference}, {level} interval {interval}), and as there is no margin they cannot show equivalence either.",
        "factor_SMALL_alone": "Any difference that {factor} makes for {metric} is smaller than the declared margin of {margin}; that there is one is not settled (Holm-adjusted {p}): {a} minus {b} is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "lora_SMALL_alone": "Any change that LoRA makes for {metric} is smaller than the declared margin of {margin}; that there is one is not settled (Holm-adjusted {p}): {a} minus {b}, the untuned model under its best template, is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "with_choosing": "; 15 with the third that is set aside to choose the base's template or to measure the margin",
        "needed": "To settle whether there is a difference of {goal}, about {need_seeds} {replicates} x {need_probes} {units} would be needed{of_these}.",
        "needed_at_least": "To settle whether there is a difference of {goal}, at least {need_seeds} {replicates} x {need_probes} {units} would be needed{of_these}; with one {replicate} the spread over {replicates} is unknown.",
        "of_these": " (a third of them is set aside to choose the base's template or to measure the margin, {need_tested} {things} are left to test on)",
        "out_of_reach": "No number of {replicates} and {units} within reach (64 {replicates}, 100 times the {units}) would be expected to settle whether there is a difference of {goal}.",
        "gain_margin": "The margin is {share} of what tuning gained on the {n} clusters set aside ({gain}, {interval}), as declared.",
        "gain_unclear": "The margin was declared as {share} of what tuning gains, and on the {n} clusters set aside that is not clear ({gain}, {interval}): there is no margin.",
        "gain_unknown": "The margin was declared as {share} of what tuning gains, and the scores do not show that (it takes scores of the untuned model and two seeds or clusters): there is no margin.",
        "these_adapters": "For these adapters only ({n_seeds}, {n_clusters}), not for training again: ",
        "these_probes": "On these {n_clusters} only ({n_seeds}), not on others: ",
        "noise": "For scale: two {alike} lie {noise} apart (root mean square).",
    },
    "ja": {
        "factor_NONE": "{factor}が影響するかどうかは調べていません。学習時と同じテンプレートで尋ねて {metric} を測った{factors}が、2つ以上ないためです。",
        "factor_EACH": "{factor}が {metric} に影響するかどうかはまとめていません。ほかの設定ごとの {n} 個の比較は参考です（Benjamini-Hochberg）。",
        "factor_MATTERS": "{Factor}は {metric} に影響します。どれも学習時と同じテンプレートで尋ねたとき、{worse} は {better} より {size} 悪い結果でした（{level}信頼区間 {size_interval}、Holm補正後 {p}）。",
        "factor_SMALL": "{Factor}による {metric} の差はありますが、事前に宣言した許容差 {margin} より小さいものです。{a} から {b} を引いた差は {difference} でした（{level}信頼区間 {interval}、{level_90}信頼区間 {interval_90}）。",
        "factor_EQUIVALENT": "{metric} について、{factors}は事前に宣言した許容差 {margin} の範囲で同等です。学習時と同じテンプレートで尋ねたとき、全 {n} 組で差の{level_90}信頼区間が ±{margin} の内側に収まりました（最も外へ広がったのは {a} から {b} を引いた差で、{interval_90}）。",
        "factor_NOT_ASSESSABLE": "{factor}が {metric} に影響するかどうかは判定できません。{a} と {b} の比較が、前提となる検査に通らなかったためです（{gates}）。",
        "of_pairs": "（{n} 組のうち {k} 組がこの判定です。）",
        "lora_NONE": "LoRA が必要だったかどうかは調べていません。学習後と学習前の両方のモデルを {metric} で測っていないためです。",
        "lora_YES": "{metric} については LoRA が必要でした。{a} は、学習前のモデルに最良のテンプレートで尋ねた {b}（別の {choosing} {things}で選択）より {size} 良い結果でした（{level}信頼区間 {size_interval}、Holm補正後 {p}）。",
        "lora_HARMED": "{metric} については LoRA が害になりました。{a} は、学習前のモデルに最良のテンプレートで尋ねた {b}（別の {choosing} {things}で選択）より {size} 悪い結果でした（{level}信頼区間 {size_interval}、Holm補正後 {p}）。",
        "lora_SMALL": "LoRA は {metric} を変えましたが、その差は事前に宣言した許容差 {margin} より小さいものです。{a} から、学習前のモデルに最良のテンプレートで尋ねた {b} を引いた差は {difference} でした（{level}信頼区間 {interval}、{level_90}信頼区間 {interval_90}）。",
        "lora_NO": "{metric} については LoRA は必要ありませんでした。{a} と、学習前のモデルに最良のテンプレートで尋ねた {b} は、事前に宣言した許容差 {margin} の範囲で同等です（差の{level_90}信頼区間 {interval_90}）。",
        "lora_NOT_ASSESSABLE": "{metric} に LoRA が必要だったかどうかは判定できません。{a} と {b} の比較が、前提となる検査に通らなかったためです（{gates}）。",
        "beyond": "信頼区間の全体が、事前に宣言した許容差 {margin} を超えています。",
        "beyond_open": "差が許容差 {margin} を超えるかどうかは、まだ決められません。",
        "no_margin": "許容差がないため、気にすべき大きさかどうかは判定していません。",
        "mde": "この規模の実験では、真の差が {mde} あれば5回に4回は見つけられます。",
        "mde_none": "この規模の実験では、どれほど大きな差でも確実には見つけられません。",
        "changed": "採点後に変更されました（{at}）：{changes}。",
        "change": "{setting} {first} -> {now}",
        "change_of_probe": "{setting} {now}",
        "more": "ほか {n} 件",
        "first": "最初の宣言では：{sentence}",
        "margin_changed": "事前に宣言した許容差|変更後の許容差",
        "margin_late": "事前に宣言した許容差|採点後に宣言した許容差",
        "first_lost": "最初の宣言での判定は、もう分かりません。",
        "now": "変更後は：{sentence}",
        "recipe": "これは学習手順についての結論です（{n_seeds}、{n_clusters}）。",
        "factor_open": "{factor}が {metric} に影響するかどうかは、まだ決められません。",
        "lora_open": "{metric} に LoRA が必要だったかどうか、つまり {a} が、学習前のモデルに最良のテンプレートで尋ねた {b} より良いかどうかは、まだ決められません。",
        "too_few": "{n_seeds}と {n_clusters}では少なすぎて何も主張できません（少なくとも 3 {replicates}か 10 {things}が必要です{with_choosing}）。観測した差は {a} から {b} を引いて {difference} でした（{level}信頼区間 {interval}）。",
        "too_few_no_interval": "{n_seeds}と {n_clusters}では少なすぎて何も主張できません（少なくとも 3 {replicates}か 10 {things}が必要です{with_choosing}）。",
        "no_interval": "{a} から {b} を引いた差の信頼区間を、この採点結果からは計算できません。",
        "alone": "この比較だけを見れば {a} と {b} には差がありますが（差 {difference}、{level}信頼区間 {interval}）、同じ問いの比較すべてを数える Holm 補正の後では差があるとは言い切れません（補正後 {p}）。",
        "neither": "差があるとも、{margin} の差がないとも言い切れません（{a} から {b} を引いた差は {difference}、{level}信頼区間 {interval}）。",
        "neither_no_margin": "{a} と {b} に差があるとは言い切れず（差 {difference}、{level}信頼区間 {interval}）、許容差がないため同等とも言えません。",
        "factor_SMALL_alone": "{factor}による {metric} の差は、あるとしても事前に宣言した許容差 {margin} より小さいものです。差があること自体は決められません（Holm補正後 {p}）。{a} から {b} を引いた差は {difference} でした（{level}信頼区間 {interval}、{level_90}信頼区間 {interval_90}）。",
        "lora_SMALL_alone": "LoRA による {metric} の変化は、あるとしても事前に宣言した許容差 {margin} より小さいものです。変化があること自体は決められません（Holm補正後 {p}）。{a} から、学習前のモデルに最良のテンプレートで尋ねた {b} を引いた差は {difference} でした（{level}信頼区間 {interval}、{level_90}信頼区間 {interval_90}）。",
        "with_choosing": "。学習前のモデルのテンプレートの選択や許容差の測定に使う3分の1を含めると 15",
        "needed": "{goal} の差があるかどうかに決着をつけるには、およそ {need_seeds} {replicates} × {need_probes} {units}が必要です{of_these}。",
        "needed_at_least": "{goal} の差があるかどうかに決着をつけるには、少なくとも {need_seeds} {replicates} × {need_probes} {units}が必要です{of_these}（1 つの{replicate}では、{replicates}間のばらつきが分かりません）。",
        "of_these": "（その3分の1は学習前のモデルのテンプレートの選択や許容差の測定に使い、比較に残るのは {need_tested} {things}です）",
        "out_of_reach": "現実的な範囲（64 {replicates}、{units} 100 倍）で{replicates}や{units}を増やしても、{goal} の差があるかどうかに決着がつく見込みはありません。",
        "gain_margin": "許容差は宣言どおり、取り分けた {n} クラスタで測った学習による改善（{gain}、{interval}）の {share} です。",
        "gain_unclear": "許容差は学習による改善の {share} と宣言されましたが、取り分けた {n} クラスタでは改善がはっきりしない（{gain}、{interval}）ため、許容差はありません。",
        "gain_unknown": "許容差は学習による改善の {share} と宣言されましたが、改善を測れるスコア（学習前のモデルのスコアと、2 つ以上のシードまたはクラスタ）がないため、許容差はありません。",
        "these_adapters": "今回のアダプタに限った結論として（{n_seeds}、{n_clusters}。学習し直した場合については言えません）、",
        "these_probes": "今回の {n_clusters}に限った結論として（{n_seeds}。ほかについては言えません）、",
        "noise": "参考までに、{alike} {noise} の差が出ます（二乗平均平方根）。",
    },
}

SHAPES = {
    "en": {
        "rare_large": "Caution: a few {things} make most of the difference; with such rare failures the interval may be too narrow.",
        "skewed": "Caution: the differences are skewed over the {things}; the interval may be too narrow.",
        "odd_seed": "Caution: one {replicate} lies far from the others; if {replicates} collapse now and then, the interval cannot be relied on before there are more.",
        "unknown_rows": "Caution: on which rows the adapters from elsewhere were trained is not known; {things} may be among them, and then their loss is too low.",
    },
    "ja": {
        "rare_large": "注意：差の大部分が少数の{things}から生じています。このようなまれな失敗があると、信頼区間は狭すぎるおそれがあります。",
        "skewed": "注意：差の分布が{things}の間で歪んでいるため、信頼区間は狭すぎるおそれがあります。",
        "odd_seed": "注意：1つの{replicate}だけが大きく外れています。まれに破綻するのであれば、{replicates}を増やすまで信頼区間は当てになりません。",
        "unknown_rows": "注意：外部で学習されたアダプタがどの行で学習されたかは分かりません。{things}がその中に含まれていれば、損失は低く出すぎます。",
    },
}

REASONS = {
    "en": {
        "rows_left_out": "{left_out:.0%} of the rows are not scored in every cell",
        "missing_scores": "without a score are {one:.1%} of the treatment, {two:.1%} of the control",
        "nothing_to_pair": "the cells share no seed or no complete cluster",
        "floor": "rates of {low:.1%} and {high:.1%} leave no room for a difference",
        "ceiling": "rates of {low:.1%} and {high:.1%} leave no room for a difference",
        "chance": "{low:.1%} and {high:.1%} may both be guessing, which comes to {chance:.1%}",
        "finish_rate": "only {rate:.1%} of the answers of {cell} end by themselves: content scores are truncated",
        "permutation_disagrees": "the interval excludes 0 (p = {p:.3g}), the sign flips do not (p = {flipped:.3g})",
    },
    "ja": {
        "rows_left_out": "行の {left_out:.0%} は、採点できないセルがあります",
        "missing_scores": "採点できなかった割合は、処置側が {one:.1%}、対照側が {two:.1%} です",
        "nothing_to_pair": "共通のシード、または両セルとも揃ったクラスタがありません",
        "floor": "率が {low:.1%} と {high:.1%} で、差が現れる余地がありません",
        "ceiling": "率が {low:.1%} と {high:.1%} で、差が現れる余地がありません",
        "chance": "{low:.1%} と {high:.1%} は、どちらも当てずっぽう（{chance:.1%}）と区別できません",
        "finish_rate": "{cell} の回答のうち自分で終わるのは {rate:.1%} だけで、内容は途中までの回答で採点しています",
        "permutation_disagrees": "信頼区間は 0 を含まず（p = {p:.3g}）、符号反転検定では差が出ません（p = {flipped:.3g}）",
    },
}
"""Why a gate that a comparison finds itself has failed."""

GATES_JA = {
    "rows_left_out": "どのセルでも採点できた行が8割に満たない",
    "missing_scores": "採点できなかった回答の割合が両者で5ポイントより多く違う",
    "nothing_to_pair": "共通のシード、または全員が答えた質問クラスタがない",
    "floor": "両者とも率が5%以下で差が現れる余地がない",
    "ceiling": "両者とも率が95%以上で差が現れる余地がない",
    "chance": "両者とも当てずっぽうと区別できない",
    "finish_rate": "自分で終わった回答が半分に満たず、内容の採点が途中で切れた回答に基づく",
    "permutation_disagrees": "信頼区間と符号反転検定の結論が食い違う",
}
"""What failed, for the gates that a comparison finds itself; the details are in comparisons.json."""

COUNTED = {
    "en": {
        "rows": ("held-out row", "held-out rows"),
        "documents": ("document of held-out rows", "documents of held-out rows"),
        "probes": ("probe cluster", "probe clusters"),
        "unit": "probes",
    },
    "ja": {
        "rows": ("検証行", "検証行"),
        "documents": ("検証文書", "検証文書"),
        "probes": ("質問クラスタ", "質問クラスタ"),
        "unit": "質問",
    },
}
"""What a metric's clusters are called, one and many, and what there must be more of to have more."""

UNITS_JA = {"points": "ポイント", "bits per byte": " ビット/バイト", "bits": " ビット", "characters": "文字"}
"""Units of iikata's own metrics; any other stays as it is."""

FACTOR = {
    "en": {"template": ("the template", "templates"), "variant": ("the variant", "variants")},
    "ja": {"template": ("テンプレート", "テンプレート"), "variant": ("条件", "条件")},
}
"""What the factor is called, and its levels; any other by its setting."""
LEVELS = {"en": "levels of {factor}", "ja": "{factor} の値"}


def factor_named(factor: str, language: str) -> tuple[str, str]:
    """Return what a factor is called, and its levels."""
    return FACTOR[language].get(factor, (factor, LEVELS[language].format(factor=factor)))
