"""Labelled pages: documentation, forums, shops, tables and code, all written for this purpose."""
# ruff: noqa: E501

from tests.crawl.labelled.frames import divsoup, mkdocs, news, phpbb, qa, shop, sphinx, wiki

TIDEPOOL = sphinx(
    "First steps",
    """<h1 M>First steps<a class="headerlink" href="#first-steps" title="Permalink to this heading">¶</a></h1>
<p G>A pool holds readings from any number of gauges. Open one with a path, and it is created if there is nothing at that path yet.</p>
<div class="highlight-python3 notranslate"><div class="highlight"><pre G><span></span><span class="kn">import</span> <span class="nn">tidepool</span>

<span class="k">with</span> <span class="n">tidepool</span><span class="o">.</span><span class="n">open</span><span class="p">(</span><span class="s2">"harbour.pool"</span><span class="p">)</span> <span class="k">as</span> <span class="n">pool</span><span class="p">:</span>
    <span class="k">for</span> <span class="n">gauge</span> <span class="ow">in</span> <span class="n">pool</span><span class="p">:</span>
        <span class="nb">print</span><span class="p">(</span><span class="n">gauge</span><span class="o">.</span><span class="n">name</span><span class="p">)</span>
</pre></div></div>
<div class="admonition note"><p M class="admonition-title">Note</p><p G>A pool that is open for writing is locked. A second writer waits for ten seconds and then gives up with an error.</p></div>
<p G>Readings are kept in the order in which they were taken, whatever the order in which they arrive.</p>""",
)
API = sphinx(
    "tidepool.Gauge",
    """<h1 M>tidepool.Gauge<a class="headerlink" href="#x">¶</a></h1>
<dl class="py class"><dt G class="sig sig-object py" id="Gauge"><em class="property">class </em><code>tidepool.Gauge</code>(<em>name</em>, <em>zero=0.0</em>)</dt>
<dd><p G>One measuring point. Heights are metres above <code>zero</code>, which is the local chart datum unless the file says otherwise.</p>
<dl class="py method"><dt G class="sig sig-object py">read(<em>timeout=None</em>)</dt><dd><p G>Wait for the next reading and return it. Raises TimeoutError when none has come after that many seconds.</p></dd></dl>
<dl class="py method"><dt G class="sig sig-object py">close()</dt><dd><p G>Give the gauge back. Closing one that is closed already does nothing.</p></dd></dl></dd></dl>""",
)
LANTERN = mkdocs(
    "Configuration",
    """<h1 M id="configuration">Configuration</h1>
<p G>Lantern reads its settings from three places. A later one wins over an earlier one, key by key and not file by file.</p>
<h2 M id="one">Where settings live</h2>
<ol><li G>The file of the machine, which an administrator writes and nobody else should touch.</li><li G>The file in your home folder, made the first time you change anything.</li><li G>The words behind the command, which hold for that one run.</li></ol>
<div class="admonition warning"><p M class="admonition-title">Warning</p><p G>A key that is not known is an error. It used to be ignored, and people spent evenings on a missing letter.</p></div>
<pre G><code class="language-yaml">wick:
  length: 12   # millimetres
  trim: true
oil: colza
</code></pre>""",
)
MANUAL = """<HTML><HEAD><TITLE>knotd(8)</TITLE></HEAD><BODY><A HREF="/index.html">Index</A> <A HREF="/k.html">Return to Main Contents</A>
<H1 M>knotd</H1>
<H2 M>NAME</H2><P G>knotd - keeps a list of knots and answers questions about them on a local socket</P>
<H2 M>DESCRIPTION</H2><P G>The daemon reads its list once, when it starts, and again whenever it receives a hangup signal. Questions that arrive while it reads are held back and answered from the new list.</P>
<DL><DT G><B>-l</B> file</DT><DD G>Take the list from this file instead of the one that was compiled in. The file may be compressed.</DD><DT G><B>-q</B></DT><DD G>Say nothing on standard output, not even when the list is empty.</DD></DL>
<H2 M>BUGS</H2><P G>Two knots with the same name cannot be told apart, and neither can the people who tie them.</P>
<HR><A HREF="#index">Index</A> This document was created by man2html.</BODY></HTML>"""
DARKROOM = phpbb(
    "Fixer smells of nothing at all",
    [
        (
            "silverhalide",
            "<span G>I opened a new bottle of rapid fixer yesterday and it has no smell whatsoever. The old one could wake the dead. Is it dead itself, or is there an odourless kind?</span>",
        ),
        (
            "nightjar",
            "<span G>There is an odourless kind, and they changed the label without telling anybody. Drop a leader of film in it: if it clears in a minute, the fixer is fine.</span>",
        ),
        (
            "silverhalide",
            "<span G>It cleared in forty seconds. So I have been holding my breath in the dark for no reason, which is a fair summary of the hobby.</span>",
        ),
    ],
)
LENS = phpbb(
    "Fungus in a lens, worth saving?",
    [
        (
            "oldglass",
            "<span G>A cousin left me a box of lenses from a damp cellar. Most are clean but the 85 has little white threads between the groups, like frost on a window.</span>",
        ),
        (
            "prismatic",
            "<blockquote G>like frost on a window</blockquote><span G>That is fungus. It etches the coating if you leave it. Keep the lens away from the others and put it on a sunny sill for a week, front cap off.</span>",
        ),
        (
            "oldglass",
            "<span G>Two weeks on the sill and it has stopped growing. The pictures have a glow now that people would pay for, so I am leaving it alone.</span>",
        ),
    ],
)
COMPOST = qa(
    "How hot should a heap be before I turn it?",
    "<p G>My compost heap reached 58 degrees after four days and is falling again. Do I turn it now, or only when it is cold? The books do not agree.</p>",
    [
        "<p G>Turn it when it falls below forty-five. At that point the middle has run out of air, and it will climb again within a day.</p><p G>If it does not, it is too dry: a handful should feel like a wrung-out sponge.</p>",
        "<p G>You do not have to turn it at all. It will take a year instead of three months, and your back will thank you.</p>",
    ],
)
SOIL = qa(
    "Clay that cracks every summer",
    "<p G>The lower third of the garden is grey clay that opens in cracks as wide as my thumb by July. Does sand help, as my neighbour says?</p>",
    [
        "<p G>No. Sand and clay make something close to brick. Leaf mould, every autumn, as much as you can get, and let the worms carry it down.</p>",
        "<p G>I agree about the sand. Green manure over winter did more in two years than ten barrows of grit had done before.</p>",
    ],
)
MILL = shop(
    "Pepper mill, pear wood",
    """<div class="product-description"><p G>Turned from a single piece of pear wood from orchards that were cleared for a bypass, and oiled by hand. No two are of quite the same colour.</p>
<p G>The grinder is hardened steel and may be set from dust to gravel with the brass nut at the top. It is guaranteed for twenty-five years, which is longer than most kitchens.</p></div>
<table class="data-table"><tr G><th>Height</th><td>21 cm</td></tr><tr G><th>Weight</th><td>340 g</td></tr><tr G><th>Made in</th><td>Ludlow</td></tr></table>""",
)
KNIFE = shop(
    "Bread knife, twelve inch",
    """<div class="description"><p G>A long blade with shallow waves, so that it starts on a hard crust without tearing what is behind it. The handle is ash and has room for a large hand.</p>
<ul><li G>Sharpen it once a year with a rod, wave by wave, from the flat side only.</li><li G>Not for the dishwasher, whatever the dishwasher may think.</li></ul></div>""",
    semantic=False,
)
KETTLE = shop(
    "Stove kettle, enamel",
    """<div class="product attribute overview"><p G>A kettle of the old sort: it sits on the flame, it sings when it is ready, and it does not know what time it is.</p></div>
<div class="product attribute description"><p G>Two litres, steel under three coats of enamel, with a spout that pours without dripping. Chips happen; they do no harm and can be touched up.</p><p G>Suitable for gas, for induction and for open fires, though the outside will then be black and stay so.</p></div>""",
)
TIDES = wiki(
    "River Fallow",
    """<p G>The <b>Fallow</b> is a river of 61 kilometres that rises on Stoke Moor and reaches the sea at Kestrel Bar.<sup class="reference"><a href="#1">[1]</a></sup></p>
<table class="wikitable"><caption M>Gauges on the Fallow</caption><tbody><tr G><th>Gauge</th><th>Kilometre</th><th>Mean flow</th></tr><tr G><td>Stoke</td><td>9</td><td>0.8 m³/s</td></tr><tr G><td>Mill End</td><td>34</td><td>3.1 m³/s</td></tr><tr G><td>Kestrel Bar</td><td>60</td><td>5.9 m³/s</td></tr></tbody></table>
<h2 M><span class="mw-headline">Floods</span><span class="mw-editsection">[<a href="/edit">edit</a>]</span></h2>
<p G>The flood of 1953 carried away both mills and left a bank of gravel on which the cricket ground was laid out two years later.</p>""",
)
LEAGUE = divsoup(
    "Final table of the valley league",
    """<h3 M>Final table of the valley league</h3><p G>Lower Kestrel are champions for the first time since the war, on goal difference and after a protest that was turned down at midnight.</p>
<table border="1"><tr G><td>Lower Kestrel</td><td>18</td><td>41</td></tr><tr G><td>Stoke Fallow</td><td>18</td><td>41</td></tr><tr G><td>Mill End</td><td>18</td><td>27</td></tr><tr G><td>Upper Kestrel</td><td>18</td><td>9</td></tr></table>
<p G>The second team of Stoke Fallow withdrew in March for lack of a goalkeeper, and its results have been taken out of the table.</p>""",
)
TARIFF = news(
    "What a ferry ticket costs now",
    """<h1 M>What a ferry ticket costs now</h1><p G>The new tariff holds from the first of the month. Bicycles travel free before nine, a change that the company calls an experiment.</p>
<table><thead><tr G><th>Passenger</th><th>Single</th><th>Return</th></tr></thead><tbody><tr G><td>Adult</td><td>6.40</td><td>11.00</td></tr><tr G><td>Child up to 14</td><td>2.10</td><td>4.00</td></tr><tr G><td>Dog</td><td>1.00</td><td>2.00</td></tr></tbody></table>
<p G>Tickets bought under the old tariff stay valid until the end of the year, on the outer islands even until Easter.</p>""",
    comments=False,
)
LOOP = divsoup(
    "Counting boats with a short script",
    """<h3 M>Counting boats with a short script</h3><p G>The harbour camera writes one line for each boat that passes. This counts them by hour and prints a bar for each:</p>
<pre G>from collections import Counter

hours = Counter(line[11:13] for line in open("boats.log"))
for hour, n in sorted(hours.items()):
    print(hour, "#" * n)</pre>
<p G>It assumes that the clock of the camera is right, which it was until the end of October and then was not.</p>""",
)
SHELL = mkdocs(
    "Installation",
    """<h1 M>Installation</h1><p G>Lantern is one file. Put it somewhere on your path, make it executable, and ask it for its version to see that it works.</p>
<div class="highlight"><pre G><span></span><code>curl -O https://lantern.example/lantern
chmod +x lantern
./lantern --version
</code></pre></div>
<p G>On machines without a C library of the usual kind, take the file that ends in <code>-static</code>; it is larger and slower to start.</p>
<div class="highlight"><pre G><code>if [ ! -x "$(command -v lantern)" ]; then
    echo "not found" &gt;&amp;2
    exit 1
fi
</code></pre></div>""",
)
LINES = news(
    "How the tide clock was written",
    """<h1 M>How the tide clock was written</h1><p G>Readers have asked for the programme behind the tide clock on our front page. It is shorter than the letters we got about it.</p>
<div class="code-wrapper"><button class="copy-btn">Copy</button><pre G>def height(hours):
    # two tides a day, near enough
    return 2.1 * cos(2 * pi * hours / 12.42)
</pre></div>
<p G>The constant is the time between two high waters in hours. Everything else is what you learned at school and have forgotten.</p>""",
    comments=False,
)

PAGES = {
    "documentation": [TIDEPOOL, API, LANTERN, MANUAL],
    "forum": [DARKROOM, LENS, COMPOST, SOIL],
    "shop": [MILL, KNIFE, KETTLE],
    "table": [TIDES, LEAGUE, TARIFF],
    "code": [LOOP, SHELL, LINES],
}
