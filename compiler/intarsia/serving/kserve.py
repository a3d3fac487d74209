"""An artifact behind KServe's own server.

python -m intarsia.serving.kserve --model_name=resnet8 --model_dir=/mnt/models
"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kserve
import numpy as np
from kserve.errors import InvalidInput

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.session import Session, load
from intarsia.serving.tensors import DATATYPES


class KServeModel(kserve.Model):  # type: ignore[misc]  # it has no types
    """A model for `kserve.ModelServer`; each request is a run by itself, in one of `workers` threads."""

    def __init__(self, name: str, path: Path, workers: int = 1) -> None:
        super().__init__(name)
        self._path = path
        self._runs = ThreadPoolExecutor(workers)
        self._session: Session | None = None

    def load(self) -> bool:
        """Open the artifact: the file, or the only one in a folder."""
        self._session = load(_artifact(self._path), threads=1)
        self.ready = True
        return True

    async def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs as the protocol describes them."""
        return self._described(self._open().inputs)

    async def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs as the protocol describes them."""
        return self._described(self._open().outputs)

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Answer one request of the Open Inference Protocol."""
        session = self._open()
        if not isinstance(payload, kserve.InferRequest):
            raise InvalidInput("requests are those of the Open Inference Protocol v2")
        named = {item.name: item.as_numpy() for item in payload.inputs}
        try:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._runs, session.execute, named)
        except RunError as error:
            raise InvalidInput(str(error)) from error
        made = [_output(name, array) for name, array in result.by_name.items()]
        asked, binary = payload.request_outputs, payload.use_binary_outputs
        return kserve.InferResponse(payload.id, self.name, made, use_binary_outputs=binary, requested_outputs=asked)

    def _open(self) -> Session:
        if self._session is None:
            raise RuntimeError(f"model {self.name} is asked before it is loaded")
        return self._session

    @staticmethod
    def _described(infos: Any) -> list[dict[str, Any]]:
        sizes = [[-1 if size is None else size for size in info.shape or ()] for info in infos]
        return [
            {"name": info.name, "datatype": DATATYPES[info.dtype], "shape": shape} for info, shape in zip(infos, sizes)
        ]


def _output(name: str, array: Array) -> Any:
    made = kserve.InferOutput(name=name, shape=list(array.shape), datatype=DATATYPES[array.dtype.name])
    made.set_data_from_numpy(np.ascontiguousarray(array), binary_data=True)
    return made


def _artifact(path: Path) -> Path:
    found = sorted(path.glob("*.intarsia")) if path.is_dir() else [path]
    if len(found) != 1:
        what = f"{len(found)} files in it end with .intarsia"
        raise RunError(where=f"folder {path}", what=what, help="put one artifact there")
    return found[0]


def main() -> None:
    """Serve until SIGTERM; options are KServe's own."""
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_dir", required=True, help="The artifact, or a folder with one.")
    arguments, _ = parser.parse_known_args()
    model = KServeModel(arguments.model_name, Path(arguments.model_dir))
    model.load()
    kserve.ModelServer().start([model])


if __name__ == "__main__":
    main()
