"""Site templates for the labelled pages: navigation, cookie banners, comments, sidebars and footers as real sites
have them, all written for this purpose. `<p G>` marks what belongs to the text, `<p M>` what may be in it or not, such as titles and comments; `score.py` reads the marks and takes
them out.
"""
# ruff: noqa: E501


def news(title, body, date="2024-03-14", comments=True):
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} | The Harbour Courier</title>
<meta property="og:title" content="{title}">
<meta property="article:published_time" content="{date}T08:30:00+00:00">
<link rel="stylesheet" href="/assets/site.css">
<script>window.dataLayer=window.dataLayer||[];function gtag(){{dataLayer.push(arguments);}}gtag("js",new Date());</script>
<style>.hero{{display:grid}} .ad-slot{{min-height:250px}}</style>
</head>
<body class="page page--article has-sidebar">
<div id="cookie-banner" class="cookie-consent" role="dialog"><p>We and our 842 partners store information on your device to personalise content and measure its performance. You can change your choice at any time.</p><button>Accept all</button><button>Manage options</button></div>
<header class="site-header"><a class="logo" href="/">The Harbour Courier</a>
<nav aria-label="Main"><ul><li><a href="/news">News</a></li><li><a href="/sport">Sport</a></li><li><a href="/culture">Culture</a></li><li><a href="/opinion">Opinion</a></li><li><a href="/weather">Weather</a></li></ul></nav>
<form action="/search"><input name="q" placeholder="Search"><button>Search</button></form></header>
<div class="layout">
<main id="main">
<div class="breadcrumbs"><a href="/">Home</a> &rsaquo; <a href="/news">News</a></div>
<article class="story">
{body}
</article>
<section class="related-articles"><h2>Related articles</h2><ul><li><a href="/a1">Ferry timetable changes for the summer season</a></li><li><a href="/a2">Council approves the new cycle path along the quay</a></li><li><a href="/a3">Five walks for a rainy weekend</a></li></ul></section>
{COMMENTS if comments else ""}
</main>
<aside class="sidebar"><h3>Most read</h3><ol><li><a href="/m1">Storm damage: what insurers pay and what they do not</a></li><li><a href="/m2">The baker who only works at night</a></li></ol>
<div class="ad-slot">Advertisement</div>
<div class="newsletter-signup"><h3>Stay informed</h3><p>Get the five stories that matter in your inbox every morning. Free, and you can leave at any time.</p><input type="email"><button>Subscribe</button></div></aside>
</div>
<footer class="site-footer"><p>&copy; 2024 The Harbour Courier Ltd. All rights reserved. Registered office: 12 Customs Quay.</p><ul><li><a href="/about">About us</a></li><li><a href="/privacy">Privacy policy</a></li><li><a href="/terms">Terms of use</a></li></ul></footer>
<script src="/assets/app.js"></script>
</body></html>
"""


COMMENTS = """<section id="comments" class="comments-area"><h2 M>3 comments</h2><ol class="comment-list"><li class="comment"><div M class="comment-author">tidewatcher</div><p M>I have lived here for forty years and never saw anything like it. Somebody should answer for this.</p><a href="#r">Reply</a></li><li class="comment"><div M class="comment-author">M. Okafor</div><p M>Good piece, but it leaves out the costs, as usual.</p><a href="#r">Reply</a></li></ol><form id="commentform"><label>Leave a comment</label><textarea></textarea><button>Post comment</button></form></section>"""


def wordpress(title, body, date="2022-11-02"):
    return f"""<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" lang="en-GB">
<head><meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<title>{title} &laquo; Notes from the allotment</title>
<script type="text/javascript">/* <![CDATA[ */ var wpcf7 = {{"apiSettings":{{"root":"/wp-json/"}}}}; /* ]]> */</script></head>
<body class="single single-post postid-318">
<div id="page" class="hfeed"><div id="masthead"><h1 id="logo"><a href="/">Notes from the allotment</a></h1><p id="tagline">Vegetables, weather and other disappointments</p></div>
<div id="menu-top" class="menu"><ul><li><a href="/">Blog</a></li><li><a href="/about/">About</a></li><li><a href="/contact/">Contact</a></li></ul></div>
<div id="content" class="narrowcolumn">
<div class="navigation"><div class="alignleft">&laquo; <a href="/prev">Slugs, again</a></div><div class="alignright"><a href="/next">What the frost left</a> &raquo;</div></div>
<div class="post" id="post-318"><h2 M class="entry-title">{title}</h2><div class="entry-meta">Posted on {date} by <a href="/author/jo">Jo</a></div>
<div class="entry-content">
{body}
<div class="sharedaddy sd-sharing"><h3>Share this:</h3><ul><li><a href="#">Twitter</a></li><li><a href="#">Facebook</a></li><li><a href="#">Print</a></li></ul></div>
</div>
<p class="postmetadata">This entry was posted in <a href="/cat">Growing</a> and tagged <a href="/tag/beans">beans</a>. You can follow any responses through the feed.</p></div>
<div id="comments"><h3>2 Responses</h3><ol class="commentlist"><li><cite M>Pat</cite> says:<p M>Mine did exactly the same, so I gave up and bought them.</p></li><li><cite M>Greenfinger61</cite> says:<p M>Have you tried copper tape? It changed my life.</p></li></ol></div>
</div>
<div id="sidebar"><ul><li><h2>Archives</h2><ul><li><a href="/2022/10">October 2022</a></li><li><a href="/2022/09">September 2022</a></li></ul></li><li><h2>Blogroll</h2><ul><li><a href="http://x.example">Mud and Glory</a></li></ul></li><li><h2>About me</h2><div class="textwidget">I grow things on a windy hill and write down what happens. Opinions are those of the slugs.</div></li></ul></div>
<div id="footer"><p>Notes from the allotment is proudly powered by WordPress. Entries (RSS) and Comments (RSS).</p></div></div>
</body></html>
"""


def divsoup(title, body):
    return f"""<html><head><title>{title} - Kestrel Valley Online</title><meta http-equiv="content-type" content="text/html; charset=utf-8"></head>
<body>
<div class="topbar"><span>Wednesday 6 May</span> <a href="/login">Log in</a> <a href="/register">Register</a></div>
<div class="hd"><a href="/"><img src="/logo.gif" alt="Kestrel Valley Online"></a><div class="tabs"><a href="/">Front</a> | <a href="/villages">Villages</a> | <a href="/diary">Diary</a> | <a href="/market">Market</a> | <a href="/jobs">Jobs</a></div></div>
<div class="cols"><div class="c1"><div class="box"><b>Villages</b><br><a href="/v/1">Upper Kestrel</a><br><a href="/v/2">Lower Kestrel</a><br><a href="/v/3">Mill End</a><br><a href="/v/4">Stoke Fallow</a></div><div class="box"><b>Sponsors</b><br><a href="/s/1">Fallow &amp; Sons, roofers since 1921</a></div></div>
<div class="c2">
{body}
</div>
<div class="c3"><div class="box"><b>In the diary</b><br><a href="/d/1">Sat: jumble sale, village hall</a><br><a href="/d/2">Sun: church fete, rectory garden</a><br><a href="/d/3">Tue: parish council</a></div></div></div>
<div class="ft">Kestrel Valley Online is run by volunteers. <a href="/contact">Contact us</a> | <a href="/cookies">Cookies</a> | <a href="/privacy">Privacy</a></div>
</body></html>
"""


def sphinx(title, body):
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title} &#8212; tidepool 2.4 documentation</title><link rel="stylesheet" href="_static/pygments.css"><script src="_static/doctools.js"></script></head>
<body>
<div class="related" role="navigation" aria-label="related navigation"><h3>Navigation</h3><ul><li class="right"><a href="genindex.html" title="General Index">index</a></li><li class="right"><a href="next.html">next</a> |</li><li><a href="index.html">tidepool 2.4 documentation</a> &#187;</li></ul></div>
<div class="document"><div class="documentwrapper"><div class="bodywrapper"><div class="body" role="main">
<section id="top">
{body}
</section>
<div class="clearer"></div></div></div></div>
<div class="sphinxsidebar" role="navigation" aria-label="main navigation"><div class="sphinxsidebarwrapper"><h3><a href="index.html">Table of Contents</a></h3><ul><li><a href="#a">Installing</a></li><li><a href="#b">First steps</a></li></ul><div role="note" aria-label="source link"><h3>This Page</h3><ul class="this-page-menu"><li><a href="_sources/x.rst.txt">Show Source</a></li></ul></div><div id="searchbox"><h3>Quick search</h3><form action="search.html"><input type="text" name="q"><input type="submit" value="Go"></form></div></div></div>
<div class="clearer"></div></div>
<div class="footer" role="contentinfo">&#169; Copyright 2024, the tidepool developers. Created using <a href="https://www.sphinx-doc.org/">Sphinx</a> 7.2.6.</div>
</body></html>
"""


def mkdocs(title, body):
    return f"""<!doctype html><html lang="en" class="no-js"><head><meta charset="utf-8"><title>{title} - Lantern CLI</title><meta name="generator" content="mkdocs-1.5.3, mkdocs-material-9.5.3"></head>
<body dir="ltr" data-md-color-scheme="default"><input class="md-toggle" type="checkbox" id="__drawer"><div data-md-component="skip"><a href="#start" class="md-skip">Skip to content</a></div>
<header class="md-header" data-md-component="header"><nav class="md-header__inner" aria-label="Header"><a href="." class="md-logo">Lantern CLI</a><div class="md-header__title">{title}</div><div class="md-search" role="dialog"><input placeholder="Search"><div class="md-search__output">Initializing search</div></div></nav></header>
<div class="md-container"><main class="md-main" data-md-component="main"><div class="md-main__inner md-grid">
<div class="md-sidebar md-sidebar--primary"><nav class="md-nav md-nav--primary"><ul class="md-nav__list"><li><a href="/">Home</a></li><li><a href="/install">Installation</a></li><li><a href="/config">Configuration</a></li><li><a href="/plugins">Plugins</a></li></ul></nav></div>
<div class="md-sidebar md-sidebar--secondary"><nav class="md-nav md-nav--secondary" aria-label="Table of contents"><label class="md-nav__title">Table of contents</label><ul><li><a href="#one">Where settings live</a></li><li><a href="#two">Order of precedence</a></li></ul></nav></div>
<div class="md-content"><article class="md-content__inner md-typeset"><a href="https://git.example/edit/x.md" title="Edit this page" class="md-content__button md-icon">Edit this page</a>
{body}
<aside class="md-source-file"><span class="md-source-file__fact">Last update: January 4, 2024</span></aside>
<form class="md-feedback"><p>Was this page helpful?</p><button>Yes</button><button>No</button></form></article></div></div></main>
<footer class="md-footer"><nav class="md-footer__inner" aria-label="Footer"><a href="../a">Previous: Installation</a><a href="../b">Next: Plugins</a></nav><div class="md-copyright">Copyright &copy; 2024 Lantern contributors. Made with Material for MkDocs</div></footer></div></body></html>
"""


def phpbb(title, posts):
    rows = "".join(
        f"""<div id="p{i}" class="post has-profile bg{i % 2 + 1}"><div class="inner"><dl class="postprofile" id="profile{i}"><dt><a href="./memberlist.php?u={i}" class="username">{u}</a></dt><dd class="profile-rank">Senior member</dd><dd class="profile-posts"><strong>Posts:</strong> {90 + i * 37}</dd><dd class="profile-joined"><strong>Joined:</strong> Tue Mar 0{i + 1}, 2011 7:1{i} pm</dd></dl>
<div class="postbody"><div id="post_content{i}"><h3 M><a href="#p{i}">Re: {title}</a></h3><ul class="post-buttons"><li><a href="#" title="Report this post">Report this post</a></li><li><a href="#" title="Reply with quote">Quote</a></li></ul><p class="author">by <strong><a href="#">{u}</a></strong> &raquo; Sat Jun 0{i + 1}, 2019 9:0{i} am</p>
<div class="content">{b}</div>{f'<div id="sig{i}" class="signature">Nikon D750, three lenses too many, one tripod that never stands straight</div>' if i % 2 else ""}</div></div></div></div><hr class="divider">"""
        for i, (u, b) in enumerate(posts)
    )
    return f"""<!DOCTYPE html><html dir="ltr" lang="en-gb"><head><meta charset="utf-8"><title>{title} - Grain &amp; Emulsion Forum</title></head>
<body id="phpbb" class="nojs notouch section-viewtopic ltr"><div id="wrap" class="wrap"><a id="top" class="top-anchor"></a>
<div id="page-header"><div class="headerbar" role="banner"><a id="logo" class="logo" href="./index.php">Grain &amp; Emulsion</a><p>A forum for people who still use film</p><p class="skiplink"><a href="#start_here">Skip to content</a></p></div>
<div class="navbar" role="navigation"><ul id="nav-main"><li><a href="#">Quick links</a></li><li><a href="#">FAQ</a></li><li><a href="#">Register</a></li><li><a href="#">Login</a></li></ul><ul id="nav-breadcrumbs"><li><a href="#">Board index</a></li><li><a href="#">Darkroom</a></li></ul></div></div>
<div id="page-body" class="page-body" role="main"><h2 M class="topic-title"><a href="./viewtopic.php?t=88">{title}</a></h2>
<div class="action-bar bar-top"><a href="#" class="button">Post Reply</a><div class="pagination">{len(posts)} posts &bull; Page <strong>1</strong> of <strong>1</strong></div></div>
{rows}
<div class="action-bar bar-bottom"><a href="#">Post Reply</a><div class="pagination">{len(posts)} posts &bull; Page 1 of 1</div></div>
<div class="action-bar actions-jump"><p class="jumpbox-return"><a href="#">Return to &ldquo;Darkroom&rdquo;</a></p></div>
<div class="stat-block online-list"><h3>Who is online</h3><p>Users browsing this forum: No registered users and 3 guests</p></div></div>
<div id="page-footer" class="page-footer" role="contentinfo"><div class="navbar"><ul id="nav-footer"><li>All times are UTC</li><li><a href="#">Delete cookies</a></li></ul></div><div class="copyright"><p>Powered by phpBB&reg; Forum Software &copy; phpBB Limited</p></div></div></div></body></html>
"""


def qa(title, q, answers):
    a = "".join(
        f"""<div id="answer-{i}" class="answer" itemprop="suggestedAnswer" itemscope itemtype="https://schema.org/Answer"><div class="votecell"><div class="vote-count">{7 * i + 3}</div></div><div class="answercell"><div class="s-prose js-post-body" itemprop="text">{b}</div><div class="user-info">answered Feb 3 at 10:1{i} <a href="#">user{i}99</a> 1,2{i}4 reputation</div></div></div>"""
        for i, b in enumerate(answers)
    )
    return f"""<!DOCTYPE html><html itemscope itemtype="https://schema.org/QAPage" lang="en"><head><meta charset="utf-8"><title>{title} - Ask a Gardener</title></head>
<body class="question-page unified-theme"><header class="s-topbar"><a href="/">Ask a Gardener</a><nav><a href="/questions">Questions</a> <a href="/tags">Tags</a> <a href="/users">Users</a></nav></header>
<div class="container"><div id="left-sidebar"><nav><ol><li><a href="/">Home</a></li><li><a href="/questions">Questions</a></li></ol></nav></div>
<div id="content"><div itemprop="mainEntity" itemscope itemtype="https://schema.org/Question"><div id="question-header"><h1 M itemprop="name">{title}</h1></div><div class="question-stats">Asked 3 years ago. Modified 5 months ago. Viewed 14k times</div>
<div id="mainbar"><div class="question" id="question"><div class="votecell"><div class="vote-count">21</div></div><div class="postcell"><div class="s-prose js-post-body" itemprop="text">{q}</div><div class="post-taglist"><a href="/t/soil">soil</a> <a href="/t/compost">compost</a></div><div class="user-info">asked Feb 2 at 8:40 <a href="#">rootbound</a> 181 reputation</div></div></div>
<div id="answers"><h2 M>{len(answers)} Answers</h2>{a}</div></div>
<div id="sidebar"><h4>Related</h4><div class="related"><a href="/q/4">Can I compost bread?</a><a href="/q/5">Why is my heap cold?</a></div><h4>Hot network questions</h4><ul><li><a href="#">Is this wiring safe?</a></li><li><a href="#">Meaning of an old map symbol</a></li></ul></div></div></div></div>
<footer class="site-footer"><p>Site design and logo &copy; 2024 Ask a Gardener Inc; user contributions licensed under CC BY-SA.</p></footer></body></html>
"""


def shop(title, body, semantic=True):
    m0, m1 = (
        ('<main id="maincontent" class="page-main">', "</main>")
        if semantic
        else ('<div class="wrapper clearfix">', "</div>")
    )
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title} | Bramble &amp; Oak</title><script type="application/ld+json">{{"@context":"https://schema.org","@type":"Product","name":"{title}","offers":{{"@type":"Offer","price":"34.00","priceCurrency":"GBP"}}}}</script></head>
<body class="catalog-product-view"><div class="promo-banner">Free delivery on orders over &pound;40. Ends Sunday!</div>
<div class="page-header"><a class="logo" href="/">Bramble &amp; Oak</a><div class="minicart"><a href="/cart">Basket (0)</a></div><nav class="navigation"><ul><li><a href="/kitchen">Kitchen</a></li><li><a href="/garden">Garden</a></li><li><a href="/sale">Sale</a></li></ul></nav></div>
<div class="breadcrumbs"><ul><li><a href="/">Home</a></li><li><a href="/kitchen">Kitchen</a></li><li>{title}</li></ul></div>
{m0}<h1 M class="page-title">{title}</h1><div class="product-media"><img src="/p.jpg" alt=""></div>
<div class="buy-box"><div class="price-box"><span class="price">&pound;34.00</span></div><label>Qty</label><input value="1"><button class="add-to-cart">Add to basket</button><a class="wishlist" href="#">Add to wish list</a></div>
{body}
<div class="products-related"><h2>You may also like</h2><ul><li><a href="/p/1">Cherry wood spoon set</a> <span>&pound;18.00</span></li><li><a href="/p/2">Linen tea towel</a> <span>&pound;9.50</span></li><li><a href="/p/3">Beeswax block</a> <span>&pound;6.00</span></li></ul></div>{m1}
<div class="newsletter"><p>Join our mailing list and get 10% off your first order.</p><input type="email"></div>
<div class="footer content"><ul><li><a href="/delivery">Delivery and returns</a></li><li><a href="/stores">Our stores</a></li></ul><small class="copyright">Copyright Bramble &amp; Oak 2024</small></div></body></html>
"""


def wiki(title, body):
    return f"""<!DOCTYPE html><html class="client-nojs" lang="en" dir="ltr"><head><meta charset="UTF-8"><title>{title} - Rivers Wiki</title></head>
<body class="skin-vector mediawiki ltr ns-0 ns-subject page-x"><div id="mw-page-base" class="noprint"></div><div id="content" class="mw-body" role="main"><a id="top"></a><div id="siteNotice">Editors' meeting this Thursday: everybody is welcome to join.</div><h1 M id="firstHeading" class="firstHeading">{title}</h1><div id="bodyContent" class="vector-body"><div id="siteSub" class="noprint">From Rivers Wiki</div><div id="jump-to-nav"></div><a class="mw-jump-link" href="#mw-head">Jump to navigation</a>
<div id="mw-content-text" class="mw-body-content mw-content-ltr"><div class="mw-parser-output">
{body}
</div><div class="printfooter">Retrieved from "<a href="#">https://rivers.example/wiki/x</a>"</div></div><div id="catlinks" class="catlinks"><div id="mw-normal-catlinks"><a href="#">Categories</a>: <ul><li><a href="#">Rivers</a></li><li><a href="#">Hydrology</a></li></ul></div></div></div></div>
<div id="mw-navigation"><h2>Navigation menu</h2><div id="mw-head"><ul><li><a href="#">Read</a></li><li><a href="#">Edit</a></li><li><a href="#">View history</a></li></ul></div><div id="mw-panel"><ul><li><a href="#">Main page</a></li><li><a href="#">Random article</a></li><li><a href="#">What links here</a></li></ul></div></div>
<footer id="footer" class="mw-footer" role="contentinfo"><ul id="footer-info"><li>This page was last edited on 9 January 2024, at 17:42.</li><li>Text is available under the Creative Commons licence; additional terms may apply.</li></ul></footer></body></html>
"""
