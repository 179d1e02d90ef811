"""Chapter 3 and 5.1.1: from crawled files to a documented, deduplicated, mixed corpus. `python -m training.curation --help`.

    files -> sources (documents) -> layers, one after the other (chain.py) -> shards, report
                                    each: prepare (narrow keys over all shards), then judge (stream the texts)

`documents.py` is what flows, `layer.py` what a layer is, `chain.py` the order of things; every layer is a file of its own name.
"""
