"""What a user may set, typed: the section `crawl` of task=crawl. Defaults and help are in conf/task/crawl.yaml."""

from typing import Literal, TypedDict

from bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share


class Filter(TypedDict):
    enabled: bool


class MaxChars(Filter):
    max_chars: PositiveInt


class MinWords(Filter):
    min_words: NonNegativeInt


class MaxShare(Filter):
    max_share: NonNegativeFloat  # above 1 where several are counted a word


class MinShare(Filter):
    min_share: Share


class WordLength(Filter):
    min_chars: NonNegativeFloat
    max_chars: PositiveFloat


class ShortLines(MaxShare):
    chars: NonNegativeInt


class Repeated(MaxShare):
    max_char_share: Share


class TopNgrams(Filter):
    max_char_share_2: Share
    max_char_share_3: Share
    max_char_share_4: Share


class RepeatedNgrams(Filter):
    words: PositiveInt
    max_char_share: Share


class Filters(TypedDict):
    too_long: MaxChars
    too_short: MinWords
    lorem_ipsum: MaxShare
    curly_braces: MaxShare
    mean_word_length: WordLength
    symbol_ratio: MaxShare
    bullet_lines: MaxShare
    ellipsis_lines: MaxShare
    sentence_ends: MinShare
    short_lines: ShortLines
    repeated_lines: Repeated
    repeated_paragraphs: Repeated
    letters_ratio: MinShare
    stop_words: MinWords
    top_ngrams: TopNgrams
    repeated_ngrams: RepeatedNgrams


class Extract(TypedDict):
    engine: Literal["auto", "trafilatura", "plain"]


class Clean(TypedDict):
    mojibake: bool
    boilerplate_lines: bool


class Mask(TypedDict):
    email: bool
    phone: bool
    ip: bool


class Dedup(TypedDict):
    exact_duplicates: bool
    near_duplicates: bool
    similarity: Share
    site_lines: NonNegativeInt


class Crawl(TypedDict):
    start_urls: list[str]
    spider: Literal["site", "sitemap", "feed", "urls", "warc"]
    urls_file: str | None
    warc_files: list[str]
    allowed_domains: list[str]
    include: list[str]
    exclude: list[str]
    max_depth: NonNegativeInt
    max_pages: PositiveInt
    max_bytes: PositiveInt
    max_minutes: PositiveFloat | None
    strip_params: list[str]
    max_query_variants: PositiveInt
    max_calendar_pages: PositiveInt
    max_url_length: PositiveInt
    max_path_segments: PositiveInt
    contact: str | None
    user_agent: str
    obey_robots: bool
    obey_meta_robots: bool
    delay_s: NonNegativeFloat
    max_crawl_delay_s: PositiveFloat
    autothrottle: bool
    autothrottle_concurrency: PositiveFloat
    concurrency: PositiveInt
    concurrency_per_domain: PositiveInt
    retries: NonNegativeInt
    retry_wait_s: NonNegativeFloat
    max_retry_after_s: NonNegativeFloat
    timeout_s: PositiveFloat
    max_page_bytes: PositiveInt
    max_redirects: NonNegativeInt
    allow_private: bool
    http_cache: bool
    previous: str | None
    languages: list[str]
    keep_dropped: bool
    parquet: bool
    shard_bytes: PositiveInt
    processes: PositiveInt
    extract_timeout_s: PositiveFloat
    progress_s: NonNegativeFloat
    queue: Literal["local", "redis"]
    redis_url: str
    redis_key: str | None
    worker: str | None
    lease_s: PositiveFloat
    extract: Extract
    clean: Clean
    mask: Mask
    filters: Filters
    dedup: Dedup
