"""The phrases of the verdict in English and Japanese, a phrase a line."""

# ruff: noqa: E501  (a sentence is easier to check whole than cut at a column)

PHRASES = {
    "en": {
        "template_NONE": "Whether the template matters was not assessed: no two templates were trained, prompted alike and scored by {metric}.",
        "template_MATTERS": "The template matters for {metric}: each trained and prompted alike, {worse} does worse than {better} by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "template_SMALL": "The template makes a difference for {metric}, but one smaller than the declared margin of {margin}: {a} minus {b} is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "template_EQUIVALENT": "For {metric} the templates are equivalent within the declared margin of {margin}: trained and prompted alike, the {level_90} interval of every pair ({n}) lies inside ±{margin}; the one that reaches farthest is {a} minus {b}, {interval_90}.",
        "template_INCONCLUSIVE": "Whether the template matters for {metric} is open: the data neither settle that there is a difference nor rule out one of {margin}. The least settled is {a} minus {b}: {difference} ({level} interval {interval}).",
        "template_INCONCLUSIVE_no_margin": "Whether the template matters for {metric} is open: the data do not settle that {a} and {b} differ (difference {difference}, {level} interval {interval}), and as no margin was declared they cannot show equivalence either.",
        "template_NOT_ASSESSABLE": "Whether the template matters for {metric} cannot be assessed: a check failed between {a} and {b} ({gates}).",
        "of_pairs": "({k} of {n} pairs of templates have this verdict.)",
        "lora_NONE": "Whether LoRA was needed was not assessed: there are no scores by {metric} of both a tuned and the untuned model.",
        "lora_YES": "LoRA was needed for {metric}: {a} does better than the untuned model under its best template ({b}, chosen on {choosing} other probe clusters) by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "lora_HARMED": "LoRA did harm for {metric}: {a} does worse than the untuned model under its best template ({b}, chosen on {choosing} other probe clusters) by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "lora_SMALL": "LoRA changed {metric}, but by less than the declared margin of {margin}: {a} minus {b}, the untuned model under its best template, is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "lora_NO": "LoRA was not needed for {metric}: {a} and {b}, the untuned model under its best template, are equivalent within the declared margin of {margin} ({level_90} interval of the difference {interval_90}).",
        "lora_INCONCLUSIVE": "Whether LoRA was needed for {metric} is open: between {a} and {b}, the untuned model under its best template, the data neither settle that there is a difference nor rule out one of {margin} (difference {difference}, {level} interval {interval}).",
        "lora_INCONCLUSIVE_no_margin": "Whether LoRA was needed for {metric} is open: the data do not settle that {a} and {b}, the untuned model under its best template, differ (difference {difference}, {level} interval {interval}), and as no margin was declared they cannot show equivalence either.",
        "lora_NOT_ASSESSABLE": "Whether LoRA was needed for {metric} cannot be assessed: a check failed between {a} and {b} ({gates}).",
        "no_interval": "Nothing can be said about {a} and {b} by {metric}: these scores give no interval.",
        "beyond": "The whole interval lies beyond the declared margin of {margin}.",
        "beyond_open": "Whether the difference exceeds the declared margin of {margin} is open.",
        "no_margin": "No margin was declared, so whether the difference is large enough to care about is not judged.",
        "mde": "An experiment of this size finds a true difference of {mde} four times out of five.",
        "mde_none": "An experiment of this size cannot be relied on to find any difference.",
        "needed": "To settle whether there is a difference of {goal}, about {need_seeds} seeds x {need_probes} probes would be needed.",
        "needed_at_least": "To settle whether there is a difference of {goal}, at least {need_seeds} seeds x {need_probes} probes would be needed; with one seed the spread over seeds is unknown.",
        "out_of_reach": "No number of seeds and probes within reach (64 seeds, 100 times the probes) would be expected to settle whether there is a difference of {goal}.",
        "recipe": "This speaks about the training recipe ({n_seeds}, {n_clusters}).",
        "these_adapters": "This speaks about these adapters only ({n_seeds}, {n_clusters}), not about training again.",
        "these_probes": "This speaks about these {n_clusters} only ({n_seeds}), not about other questions.",
        "both_few": "With {n_seeds} and {n_clusters} nothing can be settled; 3 seeds or 10 clusters are the least.",
        "noise": "For scale: two training seeds of one and the same template lie {noise} apart (root mean square).",
    },
    "ja": {
        "template_NONE": "テンプレートが影響するかどうかは評価していません。学習時と同じテンプレートで尋ねて {metric} を測ったテンプレートが、2つ以上ないためです。",
        "template_MATTERS": "テンプレートは {metric} に影響します。どれも学習時と同じテンプレートで尋ねたとき、{worse} は {better} より {size} 悪い結果でした({level}信頼区間 {size_interval}、Holm補正後 {p})。",
        "template_SMALL": "テンプレートによる {metric} の差はありますが、事前に宣言した許容差 {margin} より小さいものです。{a} から {b} を引いた差は {difference} でした({level}信頼区間 {interval}、{level_90}信頼区間 {interval_90})。",
        "template_EQUIVALENT": "{metric} について、テンプレートは事前に宣言した許容差 {margin} の範囲で同等です。学習時と同じテンプレートで尋ねたとき、全 {n} 組で差の{level_90}信頼区間が ±{margin} の内側に収まりました(最も外へ広がったのは {a} から {b} を引いた差で、{interval_90})。",
        "template_INCONCLUSIVE": "テンプレートが {metric} に影響するかどうかは、まだ決められません。差があるとも、{margin} の差がないとも言い切れません。最も不確かなのは {a} から {b} を引いた差で、{difference} です({level}信頼区間 {interval})。",
        "template_INCONCLUSIVE_no_margin": "テンプレートが {metric} に影響するかどうかは、まだ決められません。{a} と {b} に差があるとは言い切れず(差 {difference}、{level}信頼区間 {interval})、許容差が宣言されていないため同等とも言えません。",
        "template_NOT_ASSESSABLE": "テンプレートが {metric} に影響するかどうかは評価できません。{a} と {b} の比較が、前提となる検査に通らなかったためです({gates})。",
        "of_pairs": "(テンプレート {n} 組のうち {k} 組がこの判定です。)",
        "lora_NONE": "LoRA が必要だったかどうかは評価していません。学習後と学習前の両方のモデルを {metric} で測っていないためです。",
        "lora_YES": "{metric} については LoRA が必要でした。{a} は、学習前のモデルに最良のテンプレートで尋ねた {b}(別の {choosing} プローブクラスタで選択)より {size} 良い結果でした({level}信頼区間 {size_interval}、Holm補正後 {p})。",
        "lora_HARMED": "{metric} については LoRA が害になりました。{a} は、学習前のモデルに最良のテンプレートで尋ねた {b}(別の {choosing} プローブクラスタで選択)より {size} 悪い結果でした({level}信頼区間 {size_interval}、Holm補正後 {p})。",
        "lora_SMALL": "LoRA は {metric} を変えましたが、その差は事前に宣言した許容差 {margin} より小さいものです。{a} から、学習前のモデルに最良のテンプレートで尋ねた {b} を引いた差は {difference} でした({level}信頼区間 {interval}、{level_90}信頼区間 {interval_90})。",
        "lora_NO": "{metric} については LoRA は必要ありませんでした。{a} と、学習前のモデルに最良のテンプレートで尋ねた {b} は、事前に宣言した許容差 {margin} の範囲で同等です(差の{level_90}信頼区間 {interval_90})。",
        "lora_INCONCLUSIVE": "{metric} に LoRA が必要だったかどうかは、まだ決められません。{a} と、学習前のモデルに最良のテンプレートで尋ねた {b} には、差があるとも、{margin} の差がないとも言い切れません(差 {difference}、{level}信頼区間 {interval})。",
        "lora_INCONCLUSIVE_no_margin": "{metric} に LoRA が必要だったかどうかは、まだ決められません。{a} と、学習前のモデルに最良のテンプレートで尋ねた {b} に差があるとは言い切れず(差 {difference}、{level}信頼区間 {interval})、許容差が宣言されていないため同等とも言えません。",
        "lora_NOT_ASSESSABLE": "{metric} に LoRA が必要だったかどうかは評価できません。{a} と {b} の比較が、前提となる検査に通らなかったためです({gates})。",
        "no_interval": "{a} と {b} の {metric} については、信頼区間を計算できないため何も言えません。",
        "beyond": "信頼区間の全体が、事前に宣言した許容差 {margin} を超えています。",
        "beyond_open": "差が許容差 {margin} を超えるかどうかは、まだ決められません。",
        "no_margin": "許容差が宣言されていないため、気にすべき大きさかどうかは判定していません。",
        "mde": "この規模の実験では、真の差が {mde} あれば5回に4回は見つけられます。",
        "mde_none": "この規模の実験では、どれほど大きな差でも確実には見つけられません。",
        "needed": "{goal} の差があるかどうかに決着をつけるには、およそ {need_seeds} シード × {need_probes} プローブが必要です。",
        "needed_at_least": "{goal} の差があるかどうかに決着をつけるには、少なくとも {need_seeds} シード × {need_probes} プローブが必要です(1シードでは、シード間のばらつきが分かりません)。",
        "out_of_reach": "現実的な範囲(64 シード、プローブ 100 倍)でシードやプローブを増やしても、{goal} の差があるかどうかに決着がつく見込みはありません。",
        "recipe": "これは学習手順についての結論です({n_seeds}、{n_clusters})。",
        "these_adapters": "これは今回のアダプタに限った結論です({n_seeds}、{n_clusters})。学習し直した場合については何も言えません。",
        "these_probes": "これは今回の {n_clusters} に限った結論です({n_seeds})。ほかの質問については何も言えません。",
        "both_few": "{n_seeds}、{n_clusters}では結論を出せません。少なくとも 3 シードか 10 クラスタが必要です。",
        "noise": "参考までに、同じテンプレートでも学習シードが違うだけで {noise} の差が出ます(二乗平均平方根)。",
    },
}

SHAPES = {
    "en": {
        "rare_large": "Caution: a few probe clusters make most of the difference; with such rare failures the interval may be too narrow.",
        "skewed": "Caution: the differences are skewed over the probe clusters; the interval may be too narrow.",
        "odd_seed": "Caution: one seed lies far from the others; if seeds collapse now and then, the interval cannot be relied on before more are trained.",
    },
    "ja": {
        "rare_large": "注意:差の大部分が少数のプローブクラスタから生じています。このようなまれな失敗があると、信頼区間は狭すぎるおそれがあります。",
        "skewed": "注意:差の分布がプローブクラスタの間で歪んでいるため、信頼区間は狭すぎるおそれがあります。",
        "odd_seed": "注意:1つのシードだけが大きく外れています。まれに学習が破綻するのであれば、シードを増やすまで信頼区間は当てになりません。",
    },
}

GATES_JA = {
    "rows_left_out": "どのセルでも採点できた行が8割に満たない",
    "missing_scores": "採点できなかった回答の割合が両者で5ポイントより多く違う",
    "nothing_to_pair": "共通のシード、または全員が答えたプローブクラスタがない",
    "floor": "両者とも率が5%以下で差が現れる余地がない",
    "ceiling": "両者とも率が95%以上で差が現れる余地がない",
    "finish_rate": "自分で終わった回答が半分に満たず、内容の採点が途中で切れた回答に基づく",
    "permutation_disagrees": "信頼区間と符号反転検定の結論が食い違う",
}
"""What failed, for the gates that a comparison finds itself; the details are in comparisons.json."""

UNITS_JA = {"points": "ポイント", "bits per byte": " ビット/バイト", "bits": " ビット", "characters": "文字"}
"""Units of iikata's own metrics; any other stays as it is."""
