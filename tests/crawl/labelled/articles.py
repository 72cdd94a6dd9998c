"""Labelled pages: articles, nested articles, right-to-left text and broken HTML, all written for this purpose."""
# ruff: noqa: E501

from tests.crawl.labelled.frames import divsoup, news, wordpress

LIGHTHOUSE = news(
    "The lighthouse keeps its keeper",
    """<h1 M>The lighthouse keeps its keeper</h1><p class="byline">By Ada Rowe</p><time M datetime="2024-03-14">14 March 2024</time>
<p G>For thirty-one years Tomas Brandt has climbed the same hundred and twelve steps every evening, although the lamp has lit itself since the nineties.</p>
<p G>The harbour board wanted to end his contract this spring. Then the storm of February put out the power for two nights, and the old man lit the <a href="/lamp">spare lamp</a> by hand.</p>
<h2 M>A night without power</h2>
<p G>Eleven boats were out. All of them came home, and every skipper said the same thing: they had steered by a light that was yellower than it used to be.</p>
<figure><img src="/tower.jpg" alt=""><figcaption M>The tower in February.</figcaption></figure>
<blockquote G>I was not brave. I was awake, and I knew where the matches were.</blockquote>
<p G>The board has now agreed to keep a person in the tower, at least until the cables under the sound are renewed. Brandt has asked for one thing only: a new kettle.</p>""",
)
MARKET = news(
    "Fish market moves indoors",
    """<h1 M>Fish market moves indoors</h1>
<p G>After two centuries in the open air the fish market moves into the former ropewalk, a hall so long that its far end is often lost in fog even under a roof.</p>
<div class="ad-slot"><span>Advertisement</span></div>
<p G>Traders have drawn lots for the places. The draw took <em>four hours</em>, because nobody wanted number thirteen and three people wanted number one.</p>
<ul><li G>Cold rooms are shared by four stalls each and cleaned at noon.</li><li G>Vans enter from the quay side only, and before six in the morning.</li><li G>The auction clock from 1911 will hang above the middle door.</li></ul>
<p G>Rents rise by a tenth. In return there is hot water, which the market has never had, and a floor that drains to one side.</p>""",
    comments=False,
)
BEANS = wordpress(
    "Why my beans refuse to climb",
    """<p G>Every year I give the runner beans a frame, and every year they lie down at the foot of it like dogs on a warm step.</p>
<p G>This spring I read that young shoots circle until they touch something rough. My canes are bamboo: smooth, shiny, and about as inviting as a drainpipe.</p>
<p G>So I wound each one with old sisal twine, a turn for every hand's width. It took an afternoon and most of a pot of tea.</p>
<p G>Three weeks later the beans are over my head. The peas next to them, which had no twine, have noticed nothing and are growing along the path.</p>""",
)
FROST = wordpress(
    "What the frost left",
    """<p G>The thermometer by the shed said minus four at six in the morning, which for the second week of May is an impertinence.</p>
<p G>Gone: all the courgettes, half the potatoes, every single dahlia. The potatoes will come again from below; the rest is compost.</p>
<h3 M>What survived</h3>
<ul><li G>Broad beans, which looked dead at breakfast and stood up again by noon.</li><li G>Everything under the old net curtains, because of the old net curtains.</li></ul>
<p G>Next year I shall wait until the ash tree is in leaf, as the woman on the next plot has told me to do for nine years.</p>""",
    date="2023-05-16",
)
BRIDGE = divsoup(
    "Bridge repairs to last until harvest",
    """<font size="5"><b M>Bridge repairs to last until harvest</b></font><br><br>
<div G>The stone bridge at Mill End will stay closed until the end of August, the county engineer told a meeting in the village hall on Monday night.</div><br>
<div G>Divers found that the middle pier stands on oak piles that have not been wet for two summers. Oak lasts for ever under water, she explained, and not at all above it.</div><br>
<div G>Farmers asked how they should bring in the barley. A temporary bridge for loads of up to twelve tonnes is promised for the middle of July, thirty yards downstream.</div><br>
<div G>The school bus goes by way of Stoke Fallow from next week and leaves ten minutes earlier than the timetable says.</div>""",
)
CIDER = divsoup(
    "Cider press finds a home",
    """<h3 M>Cider press finds a home</h3>
<p G>The press that stood in the yard of the Plough for as long as anybody remembers has been bought by a group of eleven households and will work again this autumn.</p>
<p G>It weighs two tonnes and took six people, a borrowed tractor and most of a Saturday to move across the road.</p>
<p G>Anyone with apples may use it, says Nora Hale, who keeps the book: one bottle in twelve goes to the group, and whoever spills washes the floor.</p>""",
)
NESTED_LIVE = news(
    "Storm day as it happened",
    """<h1 M>Storm day as it happened</h1>
<p G>All ferries are cancelled and the coast road is closed between the mole and the golf course. We report through the day.</p>
<article class="update"><h3 M>16:40</h3><p G>The wind has turned to the north-west and dropped below thirty knots for the first time since this morning.</p>
<article class="quoted"><p G>The harbour master says that two yachts have broken loose in the inner basin and that nobody was aboard either of them.</p></article></article>
<article class="update"><h3 M>13:05</h3><p G>A roof has come down in Rope Street. The fire brigade has fenced off both pavements and asks people to use the lane behind the chapel.</p></article>
<article class="update"><h3 M>09:20</h3><p G>Schools stay closed. Parents who cannot stay at home may bring children to the library, which has opened its reading room early.</p></article>""",
    comments=False,
)
NESTED_INNER = """<!DOCTYPE html><html lang="en"><head><title>Letters from the ice</title></head><body>
<nav><a href="/">Home</a><a href="/letters">Letters</a></nav>
<article id="outer"><article id="inner"><header><h1 M>Letters from the ice</h1></header>
<p G>The first letter took five months to arrive and begins with an apology for its spelling, which is perfect.</p>
<p G>He writes about the cook, who had been a tailor and sewed the whole expedition new hoods from a spare sail before they had been a week in the pack.</p>
<section><p G>The second letter is shorter. The sun had gone by then, and ink froze unless one kept the bottle inside one's shirt.</p>
<article><p G>There is a third, never sent, found in the lining of a glove. It asks whether the pear tree was pruned.</p></article></section></article></article>
<footer><p>Letters Archive, reading room open Tuesday to Friday.</p></footer></body></html>"""
NESTED_TEASERS = """<!DOCTYPE html><html lang="en"><head><title>A day with the piano mover</title></head><body>
<header><nav><a href="/">The Weekly Post</a> <a href="/culture">Culture</a></nav></header>
<main><article class="lead"><h1 M>A day with the piano mover</h1>
<p G>There are two kinds of staircase, says Ivo Marsh: those that turn left, and those he charges more for.</p>
<p G>The instrument of the morning is an upright from 1908 on its way to a fourth floor. It goes up on its end, wrapped in blankets, one step to a breath.</p>
<p G>By noon it stands at a window. Ivo plays the only piece he knows, badly and with care, to be sure that nothing has shifted.</p></article>
<div class="teasers"><article class="teaser"><h3><a href="/t1">The tuner who hears colours</a></h3><p>A portrait. <a href="/t1">Read more</a></p></article><article class="teaser"><h3><a href="/t2">Seven halls you have never heard of</a></h3><p>A list. <a href="/t2">Read more</a></p></article></div></main>
<footer>The Weekly Post, printed on Thursdays.</footer></body></html>"""
NESTED_COPY = """<!DOCTYPE html><html lang="en"><head><title>The map under the floor</title></head><body>
<div class="mobile-lead" style="display:none"><p>Builders lifting a floor in Chandler's Row have found a hand-drawn map of the town as it was before the fire.</p></div>
<article><h1 M>The map under the floor</h1>
<p G>Builders lifting a floor in Chandler's Row have found a hand-drawn map of the town as it was before the fire.</p>
<article><p G>It shows forty-one houses that appear on no other plan, among them a synagogue and a bath, each with the name of its owner.</p></article>
<div><div><p G>The paper had been used to stop a draught. It was folded eight times and is complete but for one corner, which mice had needed more urgently.</p></div></div></article>
<aside><h4>More from this section</h4><a href="/1">Archive opens on Sundays</a></aside></body></html>"""
ARABIC = """<!DOCTYPE html><html lang="ar" dir="rtl"><head><meta charset="utf-8"><title>سوق الكتب القديمة | صحيفة الميناء</title></head><body>
<header class="site-header"><nav><ul><li><a href="/">الرئيسية</a></li><li><a href="/n">أخبار</a></li><li><a href="/s">رياضة</a></li></ul></nav></header>
<main><article><h1 M>سوق الكتب القديمة</h1>
<p G>يفتح سوق الكتب القديمة أبوابه كل يوم جمعة عند طلوع الشمس، ويأتي الناس من القرى المجاورة ليبحثوا عن كتاب قرأوه في طفولتهم ولم يجدوه بعد ذلك أبدا.</p>
<p G>يقول أبو سامي، وهو أقدم الباعة، إنه لا يبيع كتابا قبل أن يقرأ صفحته الأولى بصوت عال، فإن ابتسم الزبون خفض له الثمن.</p>
<p G>في العام الماضي وجدت طالبة رسالة بين صفحتين، وكانت الرسالة من جدتها، فاشترت الكتاب ولم تسأل عن السعر.</p></article>
<section class="related-articles"><h2>مقالات ذات صلة</h2><ul><li><a href="/a">معرض الخط العربي</a></li><li><a href="/b">مقهى الشعراء</a></li></ul></section></main>
<footer class="site-footer"><p>© ٢٠٢٤ صحيفة الميناء. جميع الحقوق محفوظة.</p></footer></body></html>"""
HEBREW = """<!DOCTYPE html><html lang="he" dir="rtl"><head><meta charset="utf-8"><title>הנגר מרחוב הים</title></head><body>
<div class="topbar"><a href="/">עמוד הבית</a> | <a href="/c">תרבות</a> | <a href="/login">כניסה</a></div>
<div id="content"><h1 M>הנגר מרחוב הים</h1>
<p G>בבוקר פותח יוסף את הנגרייה, מטאטא את השבבים של אתמול ומקשיב לרדיו הישן שאביו השאיר לו לפני שלושים שנה.</p>
<p G>הוא מתקן רק כיסאות. שולחנות, הוא אומר, הם עניין של סבלנות, אבל כיסא הוא עניין של אמון: מישהו עומד לשבת עליו.</p>
<p G>בסוף היום הוא יושב על כל אחד מהם במשך דקה שלמה, ורק אז הוא כותב את שם הלקוח על פתק ותולה אותו על המשענת.</p></div>
<div id="sidebar"><h3>הנקראים ביותר</h3><ul><li><a href="/1">מזג האוויר לסוף השבוע</a></li></ul></div>
<div id="footer">כל הזכויות שמורות לעיתון השכונה</div></body></html>"""
PERSIAN = """<!DOCTYPE html><html lang="fa" dir="rtl"><head><meta charset="utf-8"><title>باغ انار</title></head><body>
<nav><a href="/">خانه</a> <a href="/about">درباره ما</a></nav>
<div class="post"><h2 M>باغ انار</h2><div class="entry-content">
<p G>پدربزرگ می‌گفت درخت انار را باید در سکوت آب داد، چون ریشه‌هایش گوش می‌دهند و از سر و صدا دلگیر می‌شوند.</p>
<p G>ما بچه‌ها باور نمی‌کردیم، اما هر بار که نوبت آب می‌رسید آهسته راه می‌رفتیم و حتی سگ هم پارس نمی‌کرد.</p>
<p G>امسال باغ را پسرخاله‌ام نگه می‌دارد و با رادیوی روشن آب می‌دهد، و انارها، باید اعتراف کنم، از همیشه شیرین‌ترند.</p></div></div>
<div class="footer"><p>تمام حقوق این وبلاگ محفوظ است.</p></div></body></html>"""
BROKEN_UNCLOSED = """<html><head><title>The clock that ran backwards</title><body class=page>
<div id=nav><a href=/>Home<a href=/a>Archive<a href=/c>Contact</div>
<div id=content><h1 M>The clock that ran backwards</h1>
<p G>When the town hall was rebuilt the clockmaker put the works in the wrong way round, and nobody dared to say so because the mayor had already made his speech.
<p G>For sixty years people read it from behind. Children learned to tell the time twice, once for the town and once for everywhere else.
<p G>It was set right in 1951, and on that day, according to the parish book, everybody in the place came too late for everything.
</div><div id=footer>Hosted by the town library since 1998</div>"""
BROKEN_NESTING = """<!DOCTYPE html><html><head><title>Notes on ropes</title></head><body>
<table width="100%"><tr><td width="120"><a href="/">Home</a><br><a href="/knots">Knots</a><br><a href="/links">Links</a></td><td>
<center><h2 M>Notes on ropes</h2></center>
<p G><b>A rope remembers how it was coiled<i>, and a bad coil</b> will fight you</i> at the moment when you have no hand free to argue with it.</p>
<p G>Hemp swells in the wet and grips; nylon stretches and then comes back at you like a spring. Neither forgives a knot that was tied in a hurry.</div>
<p G>Whip the ends. It takes ten minutes of an idle evening and saves the rope, and now and then it saves whatever was hanging from it.</span></p>
</td></tr><tr><td colspan=2><small>Best viewed at 800 x 600. You are visitor number 004211.</small></td></tr></table></body></html></body></html>"""
BROKEN_TWICE = """<html><head><title>Smoke signals</title></head><body><html><body>
<div class="header"><a href="/">Camp cooking</a></div><! begin content >
<div class="main-content"><h1 M>Smoke signals</h1>
<p G>Damp wood smokes, and smoke follows the cook; these are the two laws of the camp kitchen and there is no third.</p>
<p G>Split the log & look for the dry heart &lt;it is nearly always there&gt;, then shave it as thin as paper before you even think of a match.</p>
<p G>A stone wall behind the fire sends half of the heat back to the pot, which is why old hearths have backs &mdash; and why ours now has one too.</p>
</div></div></div><script>document.write("<p>not text at all, only a script that writes it</p>")</script>
<div class="footer">Camp cooking, a newsletter in no particular order</body></html></html>"""
BROKEN_LATIN = """<html><head><title>Der Fährmann</title><meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"></head><body>
<div class="navigation"><a href="/">Startseite</a> <a href="/impressum">Impressum</a></div>
<div class="text"><h1 M>Der Fährmann</h1>
<p G>Der Fährmann von Großenwörden setzt seit dem Hochwasser niemanden mehr über, denn die Brücke ist fertig und sein Kahn liegt kieloben im Gras.
<p G>Manchmal rufen Kinder vom anderen Ufer, nur um zu hören, ob er noch antwortet. Er antwortet jedes Mal, und jedes Mal ein wenig später.
<p G>Im Herbst will er den Kahn neu teeren. Wozu, fragt ihn keiner; man weiß ja, dass Brücken auch nur so lange stehen, wie sie stehen.
</div><div class="footer">Heimatverein, alle Angaben ohne Gewähr</div>"""

PAGES = {
    "article": [LIGHTHOUSE, MARKET, BEANS, FROST, BRIDGE, CIDER],
    "nested": [NESTED_LIVE, NESTED_INNER, NESTED_TEASERS, NESTED_COPY],
    "right-to-left": [ARABIC, HEBREW, PERSIAN],
    "broken": [BROKEN_UNCLOSED, BROKEN_NESTING, BROKEN_TWICE, BROKEN_LATIN.encode("latin-1")],
}
