# The command line of rsqi in an image that needs no network once it is built. Not run where this repository is tested:
# there is no Docker there; nbs/howto/docker.ipynb checks what can be checked without it.
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY settings.ini setup.py README.md LICENSE MANIFEST.in constraints.txt ./
COPY rsqi rsqi
RUN pip wheel --no-deps -w /wheels .

FROM python:3.11-slim
WORKDIR /install
COPY constraints.txt ./
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch \
 && pip install --no-cache-dir -c constraints.txt /wheels/*.whl
RUN useradd --create-home inspector
USER inspector
WORKDIR /home/inspector
ENV OMP_NUM_THREADS=1 MPLBACKEND=Agg
ENTRYPOINT ["rsqi"]
CMD ["--help"]
