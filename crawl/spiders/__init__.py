"""The spiders: site, sitemap, feed, urls, warc. One file each; what they share is in base.py."""
