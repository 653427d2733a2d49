"""Compile the core. Everything else about the build is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

TRACE = os.environ.get("BUCIUM_TRACE") == "1"  # line tracing, for coverage of .pyx
SANITIZE = os.environ.get("BUCIUM_SANITIZE", "")  # a key of CHECKS

# One answer on every board: gcc for aarch64 fuses a*b+c and has an unsigned char unless told otherwise.
FLAGS = ["-O2", "-ffp-contract=off", "-fsigned-char", "-Wall", "-Wconversion", "-Wno-unreachable-code"]
CHECKS = {
    "": [],
    # AddressSanitizer and UBSan, for `make sanitize`.
    "1": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-wrapv", "-g", "-O1"],
    # UBSan alone, without its library: what is undefined ends the process. Nearly free, so that CI has it in each run.
    "trap": ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-fno-wrapv"],
}[SANITIZE]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "cython_ext.*",
                ["cython_ext/*.pyx"],
                extra_compile_args=FLAGS + CHECKS,
                extra_link_args=CHECKS[:1] if SANITIZE == "1" else [],
                define_macros=[("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if TRACE else [],
            )
        ],
        compiler_directives={"language_level": "3", "embedsignature": True, "linetrace": TRACE},
        build_dir=None if TRACE else "build/cython",  # the coverage plugin wants the .c beside the .pyx
        annotate=os.environ.get("BUCIUM_ANNOTATE") == "1",
    )
)
