"""The phrases of the verdict, English and Japanese side by side."""

PHRASES = {
    "en": {
        "template_NONE": "Whether the template matters was not assessed: there are no two templates that were trained "
        "and prompted alike and scored by {metric}.",
        "template_MATTERS": "The template matters for {metric}: each trained and prompted alike, {worse} does worse than "
        "{better} by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "template_SMALL": "The template makes a difference for {metric}, but one smaller than the declared margin of "
        "{margin}: {a} minus {b} is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "template_EQUIVALENT": "For {metric} the templates are equivalent within the declared margin of {margin}: trained "
        "and prompted alike, the {level_90} interval of every pair ({n}) lies inside it; the one that reaches farthest is "
        "{a} minus {b}, {interval_90}.",
        "template_INCONCLUSIVE": "Whether the template matters for {metric} is open: the data neither show a difference "
        "nor rule out one of {margin}. The least settled is {a} minus {b}: {difference} ({level} interval {interval}).",
        "template_INCONCLUSIVE_no_margin": "Whether the template matters for {metric} is open: the data show no difference "
        "between {a} and {b} ({difference}, {level} interval {interval}), and as no margin was declared they cannot show "
        "equivalence either.",
        "template_NOT_ASSESSABLE": "Whether the template matters for {metric} cannot be assessed: between {a} and {b} a "
        "check failed ({gate}).",
        "of_pairs": "({k} of {n} pairs of templates have this verdict.)",
        "lora_NONE": "Whether LoRA was needed was not assessed: {metric} has no scores of both a tuned and an untuned model.",
        "lora_YES": "LoRA was needed for {metric}: {a} does better than the untuned model under its best template ({b}, "
        "chosen on {choosing} other probe clusters) by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "lora_HARMED": "LoRA did harm for {metric}: {a} does worse than the untuned model under its best template ({b}, "
        "chosen on {choosing} other probe clusters) by {size} ({level} interval {size_interval}, Holm-adjusted {p}).",
        "lora_SMALL": "LoRA changed {metric}, but by less than the declared margin of {margin}: {a} minus {b}, the untuned "
        "model under its best template, is {difference} ({level} interval {interval}, {level_90} interval {interval_90}).",
        "lora_NO": "LoRA was not needed for {metric}: {a} and {b}, the untuned model under its best template, are "
        "equivalent within the declared margin of {margin} ({level_90} interval {interval_90}).",
        "lora_INCONCLUSIVE": "Whether LoRA was needed for {metric} is open: the data neither show a difference between {a} "
        "and {b}, the untuned model under its best template, nor rule out one of {margin} ({difference}, {level} interval "
        "{interval}).",
        "lora_INCONCLUSIVE_no_margin": "Whether LoRA was needed for {metric} is open: the data show no difference between "
        "{a} and {b}, the untuned model under its best template ({difference}, {level} interval {interval}), and as no "
        "margin was declared they cannot show equivalence either.",
        "lora_NOT_ASSESSABLE": "Whether LoRA was needed for {metric} cannot be assessed: between {a} and {b} a check failed "
        "({gate}).",
        "no_interval": "About {a} and {b} nothing can be said for {metric}: the scores give no interval.",
        "beyond": "The whole interval lies beyond the declared margin of {margin}.",
        "beyond_open": "Whether the difference exceeds the declared margin of {margin} is open.",
        "no_margin": "No margin was declared, so whether the difference is large enough to care about is not judged.",
        "mde": "This experiment would find a true difference of {mde} four times out of five.",
        "needed": "To settle it, about {need_seeds} seeds x {need_probes} probes are needed.",
        "needed_at_least": "To settle it, at least {need_seeds} seeds x {need_probes} probes are needed; the spread over "
        "seeds is not known yet.",
        "out_of_reach": "Neither 64 seeds nor 100 times the probes would be expected to settle it.",
        "recipe": "This speaks about the training recipe ({seeds} seeds, {clusters} probe clusters).",
        "these_adapters": "This speaks about these adapters only ({seeds} seed(s), {clusters} probe clusters), not about "
        "training again.",
        "these_probes": "This speaks about these {clusters} probe clusters only ({seeds} seeds), not about other questions.",
        "both_few": "With {seeds} seed(s) and {clusters} probe cluster(s) nothing is settled, even about these adapters "
        "on these probes.",
        "noise": "Training again with other seeds alone moves this difference by {noise} (one seed each, standard deviation).",
    },
    "ja": {
        "template_NONE": "テンプレートが影響するかどうかは評価していません。学習時と同じテンプレートで尋ねて {metric} を測ったテンプレートが"
        "2つ以上ないためです。",
        "template_MATTERS": "テンプレートは {metric} に影響します。どちらも学習時と同じテンプレートで尋ねたとき、{worse} は {better} より "
        "{size} 悪い結果でした({level}信頼区間 {size_interval}、Holm補正後 {p})。",
        "template_SMALL": "テンプレートによる {metric} の差はありますが、事前に宣言した許容差 {margin} より小さいものです。{a} と {b} の差は "
        "{difference} でした({level}信頼区間 {interval}、{level_90}信頼区間 {interval_90})。",
        "template_EQUIVALENT": "{metric} については、宣言した許容差 {margin} の範囲でテンプレートは同等です。学習時と同じテンプレートで"
        "尋ねたとき、全 {n} 組の差の{level_90}信頼区間がこの範囲に収まりました(最も広がった {a} と {b} の差で {interval_90})。",
        "template_INCONCLUSIVE": "テンプレートが {metric} に影響するかどうかは、まだ決められません。差があるとは言えず、{margin} の差が"
        "ないとも言えません。最も不確かなのは {a} と {b} の差で、{difference} です({level}信頼区間 {interval})。",
        "template_INCONCLUSIVE_no_margin": "テンプレートが {metric} に影響するかどうかは、まだ決められません。{a} と {b} の間に差があるとは"
        "言えず({difference}、{level}信頼区間 {interval})、許容差が宣言されていないため同等とも言えません。",
        "template_NOT_ASSESSABLE": "テンプレートが {metric} に影響するかどうかは評価できません。{a} と {b} の比較で、前提となる検査に"
        "通らなかったためです({gate})。",
        "of_pairs": "(テンプレート {n} 組のうち {k} 組がこの判定です。)",
        "lora_NONE": "LoRA が必要だったかどうかは評価していません。学習したモデルと学習前のモデルの両方の {metric} がそろっていない"
        "ためです。",
        "lora_YES": "{metric} については LoRA が必要でした。{a} は、学習前のモデルに最良のテンプレートで尋ねた {b}(別の {choosing} "
        "クラスタで選択)より {size} 良い結果でした({level}信頼区間 {size_interval}、Holm補正後 {p})。",
        "lora_HARMED": "{metric} については LoRA が害になりました。{a} は、学習前のモデルに最良のテンプレートで尋ねた {b}(別の {choosing} "
        "クラスタで選択)より {size} 悪い結果でした({level}信頼区間 {size_interval}、Holm補正後 {p})。",
        "lora_SMALL": "LoRA は {metric} を変えましたが、その差は宣言した許容差 {margin} より小さいものです。{a} と、学習前のモデルに最良の"
        "テンプレートで尋ねた {b} の差は {difference} でした({level}信頼区間 {interval}、{level_90}信頼区間 {interval_90})。",
        "lora_NO": "{metric} については LoRA は必要ありませんでした。{a} と、学習前のモデルに最良のテンプレートで尋ねた {b} は、宣言した"
        "許容差 {margin} の範囲で同等です({level_90}信頼区間 {interval_90})。",
        "lora_INCONCLUSIVE": "{metric} に LoRA が必要だったかどうかは、まだ決められません。{a} と、学習前のモデルに最良のテンプレートで"
        "尋ねた {b} の間に差があるとは言えず、{margin} の差がないとも言えません({difference}、{level}信頼区間 {interval})。",
        "lora_INCONCLUSIVE_no_margin": "{metric} に LoRA が必要だったかどうかは、まだ決められません。{a} と、学習前のモデルに最良の"
        "テンプレートで尋ねた {b} の間に差があるとは言えず({difference}、{level}信頼区間 {interval})、許容差が宣言されていないため"
        "同等とも言えません。",
        "lora_NOT_ASSESSABLE": "{metric} に LoRA が必要だったかどうかは評価できません。{a} と {b} の比較で、前提となる検査に通らなかった"
        "ためです({gate})。",
        "no_interval": "{a} と {b} の {metric} については、信頼区間を計算できないため何も言えません。",
        "beyond": "信頼区間の全体が、宣言した許容差 {margin} を超えています。",
        "beyond_open": "差が宣言した許容差 {margin} を超えるかどうかは、まだ決められません。",
        "no_margin": "許容差が宣言されていないため、問題にすべき大きさかどうかは判定していません。",
        "mde": "この実験が5回に4回は見つけられる真の差は {mde} です。",
        "needed": "決着をつけるには、およそ {need_seeds} シード × {need_probes} プローブが必要です。",
        "needed_at_least": "決着をつけるには、少なくとも {need_seeds} シード × {need_probes} プローブが必要です"
        "(シード間のばらつきはまだ分かっていません)。",
        "out_of_reach": "64 シードに増やしても、プローブを100倍にしても、決着は見込めません。",
        "recipe": "これは学習手順についての結論です({seeds} シード、{clusters} プローブクラスタ)。",
        "these_adapters": "これは今回のアダプタだけについての結論で({seeds} シード、{clusters} プローブクラスタ)、学習し直した場合には"
        "当てはまるとは限りません。",
        "these_probes": "これは今回の {clusters} プローブクラスタだけについての結論で({seeds} シード)、ほかの質問に当てはまるとは限りません。",
        "both_few": "{seeds} シード、{clusters} プローブクラスタでは、今回のアダプタと質問に限っても結論は出せません。",
        "noise": "シードを変えて学習し直すだけでも、この差は標準偏差 {noise} 程度動きます(各1シードの場合)。",
    },
}

SHAPES = {
    "en": {
        "rare_large": "Caution: a few probe clusters make most of the difference; with such rare failures the interval may "
        "be too narrow.",
        "skewed": "Caution: the differences are skewed over the probe clusters; the interval may be too narrow.",
        "odd_seed": "Caution: one seed lies far from the others; with so rare a collapse the interval may not be believed "
        "before more seeds are trained.",
    },
    "ja": {
        "rare_large": "注意:差の大部分が少数のプローブクラスタから生じています。このようなまれな失敗では、信頼区間が狭すぎるおそれがあります。",
        "skewed": "注意:プローブクラスタ間で差の分布が歪んでいるため、信頼区間が狭すぎるおそれがあります。",
        "odd_seed": "注意:1つのシードだけが大きく外れています。まれな破綻が疑われるため、シードを増やすまで信頼区間を信用しないでください。",
    },
}
