"""Function words by language: articles, pronouns, prepositions, conjunctions, auxiliaries, question words.

The lists were written for this module and are short on purpose. Long published lists contain words that carry the
meaning of a query (numbers, names of months, "system"). The most frequent words of a collection are no alternative:
they include its subject ("flow" in Cranfield), and a perturbation may depend only on the query and the seed.
"""

from __future__ import annotations

from typing import Literal

Language = Literal["english", "german", "french", "spanish", "hebrew", "arabic", "russian", "greek"]

FUNCTION_WORDS: dict[Language, frozenset[str]] = {
    "english": frozenset(
        "a an the this that these those i me my we us our you your he him his she her it its they them their who whom "
        "whose which what when where why how is are was were be been being am do does did has have had can could will "
        "would shall should may might must of in on at by for from to with without into onto over under about between "
        "through during against and or but if than then as so not no there here any some each".split()
    ),
    "german": frozenset(
        "der die das den dem des ein eine einen einem einer eines ich mich mir du dich er ihn ihm sie es wir uns ihr "
        "ihnen sich mein dein sein seine wer wen wem was wann wo warum wie welche welcher welches ist sind war waren "
        "bin bist wird werden wurde wurden hat haben hatte hatten kann können soll von in im an am auf aus bei mit "
        "nach zu zum zur über unter durch für gegen ohne um und oder aber wenn als dass ob so nicht kein keine".split()
    ),
    "french": frozenset(
        "le la les un une des du de je me moi tu te il elle lui on nous vous ils elles leur leurs se mon ma mes "
        "son sa ses ce cet cette ces qui que quoi dont où quand comment pourquoi quel quelle quels quelles est sont "
        "était étaient être a ont avait avaient avoir à au aux en dans par pour sur sous avec sans entre vers chez et "
        "ou mais si comme ne pas".split()
    ),
    "spanish": frozenset(
        "el la los las lo un una unos unas yo me tú te él ella le nos ellos ellas les se mi mis su sus este esta estos "
        "estas ese esa que qué quien quién cual cuál cuales cuáles cuando cuándo donde dónde como cómo es son era eran "
        "fue fueron ser está están ha han había de del a al en por para con sin sobre entre hasta desde y e o u pero "
        "si no".split()
    ),
    "hebrew": frozenset(
        "את של על אל עם מן בין אצל לפני אחרי בלי כדי או אבל כי אם גם רק לא אין יש זה זו זאת אלה אלו אני אתה הוא היא "
        "אנחנו הם הן מה מי איפה היכן מתי למה מדוע איך כיצד איזה איזו אילו כמה האם היה היתה הייתה היו אשר שלו שלה שלהם "
        "לו לה להם בו בה בהם כל".split()
    ),
    "arabic": frozenset(
        "في من إلى على عن مع بين عند منذ حتى خلال بعد قبل و أو ثم لكن أن إن لا لم لن ما ماذا من هو هي هم هذا هذه ذلك "
        "تلك التي الذي الذين أين متى كيف لماذا كم أي هل كان كانت كانوا قد كل بعض".split()
    ),
    "russian": frozenset(
        "я мы ты вы он она оно они меня нас его её ее их ему ей им мой наш свой этот эта это эти тот та те что кто "
        "какой какая какое какие который которая которое которые где когда почему как сколько чей был была было были "
        "есть в во на с со из от до по за под над при про о об к ко у для без между через и или а но если же ли бы "
        "не ни".split()
    ),
    "greek": frozenset(
        "ο η το οι τα του της των τον την τους τις ένας μια μία ένα εγώ εσύ αυτός αυτή αυτό εμείς αυτοί μου σου μας "
        "σας που ποιος ποια ποιο ποιοι ποιες τι πότε πού πώς γιατί πόσο πόσα πόσες είναι ήταν έχει έχουν είχε θα να "
        "σε στο στη στην στον στις στους στα από με για χωρίς μεταξύ κατά προς και ή αλλά αν ως όταν δεν μη".split()
    ),
}
