"""Words for people: what each reason means, in one line. A reason that is missing here is shown by its name alone."""

EDGES = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)  # words, of the histogram of lengths

REASONS = {
    "redirect": "leads elsewhere; the other address is counted by itself",
    "content_type": "neither HTML nor plain text",
    "empty": "an answer without a body",
    "no_text": "nothing but navigation, pictures or code of the page itself",
    "duplicate": "the same text as an earlier page",
    "near_duplicate": "nearly the text of an earlier page",
    "duplicate_other_worker": "the same text as a page of another crawler",
    "boilerplate": "only lines that the site repeats everywhere",
    "language": "not one of crawl.languages",
    "too_long": "more characters than filters.too_long allows",
    "too_short": "fewer words than a text has",
    "lorem_ipsum": "placeholder text",
    "curly_braces": "mostly program code",
    "mean_word_length": "words too short or too long on average: lists of letters, dumps",
    "symbol_ratio": "too many hashes or ellipses",
    "bullet_lines": "nothing but bullet points",
    "ellipsis_lines": "teasers that break off",
    "sentence_ends": "too few lines that end as sentences do",
    "short_lines": "too many short lines",
    "repeated_lines": "lines that come again and again",
    "repeated_paragraphs": "paragraphs that come again and again",
    "letters_ratio": "too few words with a letter: tables of numbers",
    "stop_words": "English without the small words that prose has",
    "top_ngrams": "a few words that make up too much of the text",
    "repeated_ngrams": "passages that come again and again",
    "noindex": "the page asks not to be indexed",
    "http_404": "not found",
    "timeout": "no whole answer in time",
    "too_large": "larger than max_page_bytes",
    "too_large_decompressed": "larger than max_page_bytes once decompressed",
    "bad_compression": "cannot be decompressed",
    "damaged": "a record that cannot be read",
    "redirect_loop": "redirects that come back to themselves",
    "too_many_redirects": "more redirects in a row than max_redirects",
    "connection_refused": "nobody listens there",
    "connection_lost": "the connection broke",
    "broken_off": "the answer, or the record, ended before its announced length",
    "no_such_host": "the name is not known to DNS",
    "extractor_crashed": "extraction took its process down, twice",
    "extractor_timeout": "extraction took longer than extract_timeout_s",
    "robots": "robots.txt forbids it",
    "robots_unavailable": "robots.txt could not be had, so nothing of the host is asked for",
    "crawl_delay_too_long": "robots.txt asks for a slower pace than max_crawl_delay_s",
    "private_address": "leads to a private or loopback address",
    "not_http": "not a web address (mailto:, javascript:, file:, ...)",
    "offsite": "outside the allowed domains",
    "excluded": "matches crawl.exclude",
    "not_included": "matches nothing of crawl.include",
    "slow_pattern": "crawl.include and crawl.exclude take too long to be looked for in it",
    "not_a_page": "named like an image, archive or other file",
    "too_deep": "further from a start address than max_depth",
    "trap_query": "one of endless queries of one path",
    "trap_calendar": "one of endless dates",
    "trap_long_address": "an address longer than max_url_length",
    "trap_deep_path": "more path segments than max_path_segments",
    "trap_repeated_path": "a path that repeats itself",
}


def meaning(reason: str) -> str:
    """What a reason means; HTTP statuses in general words."""
    if reason not in REASONS and reason.startswith("http_"):
        return f"the server answered {reason[5:]}"
    return REASONS.get(reason, "")
