"""Cache of search results, for queries that are sent again while the documents are the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from encloze.retrieval.results import Hits
from encloze.serving.collections import Collection, SearchOptions


class ResultCache:
    """The results of the latest different queries. All methods are called in one thread.

    Args:
        size: Maximum number of results; 0 for none.
        observe: Function that receives, for each batch, how many results were and were not in the cache.
    """

    def __init__(self, size: int, observe: Callable[[int, int], None]) -> None:
        self._size, self._observe = size, observe
        self._results = OrderedDict[tuple[int, SearchOptions, str], Hits]()

    def search(self, collection: Collection, options: SearchOptions, queries: Sequence[str]) -> list[Hits]:
        """Return the hits of each query (see ``Collection.search``); only those not in the cache are searched for.

        A change of the collection, which gets another version, makes its results in the cache invalid.
        """
        keys = [(collection.version, options, query) for query in queries]
        results = {key: self._results[key] for key in keys if key in self._results}
        missing = list(dict.fromkeys(key for key in keys if key not in results))
        num_missing = sum(key not in results for key in keys)
        self._observe(len(keys) - num_missing, num_missing)
        if missing:
            found = collection.search(options, [query for _, _, query in missing])
            results |= zip(missing, found, strict=True)
        for key, hits in results.items():
            self._results[key] = hits
            self._results.move_to_end(key)
        while len(self._results) > self._size:
            self._results.popitem(last=False)
        return [results[key] for key in keys]
