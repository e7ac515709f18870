# make demo    environment, synthetic raw rooms, preprocessing, training, AP, pictures (less than 6 minutes on 2 cores)
# make test    environment with everything, then the whole test suite
# make lint    style and types only
# make docs    the documentation as a site, in build/site
# make gpu-check  tests, agreement, training and speed on a GPU: gpu_check.json and gpu_check.md in outputs/gpu_check

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
# Python compiles what is imported when it is; to compile all of torch beforehand takes longer than the rest.
# It saves the result, also where the environment forbids it: without, each start takes seconds more.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(PIP) install --no-compile -c constraints.txt
DEMO   := outputs/demo
SYSTEM := libgl1 libegl1 libvulkan1 mesa-vulkan-drivers libusb-1.0-0 libgomp1 xvfb xauth xdotool chromium

.PHONY: demo test lint docs system gpu-check clean

# What the demo needs; torch-scatter and Open3D are not among it.
$(VENV)/base.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing pcseg into $(VENV) ..."
	$(INSTALL) -e .
	@touch $@

# torch-scatter has no wheel: it compiles against the installed torch, for about 7 minutes the first time.
$(VENV)/full.done: $(VENV)/base.done
	$(INSTALL) -e '.[dev,viz,las,e57,watch,sweep,cluster,homes,images,docs]' setuptools wheel ninja
	@echo "compiling torch-scatter (about 7 minutes unless pip has the wheel already) ..."
	$(INSTALL) --no-build-isolation torch-scatter
	@touch $@

# Open3D's window and the page's browser test need system libraries.
system:
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    dpkg -s $(SYSTEM) >/dev/null 2>&1 || { apt-get -qq update && \
	    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(SYSTEM) >/dev/null; }; \
	else \
	    echo "Open3D and the browser test need these system packages (Debian names): $(SYSTEM)"; \
	fi

# Two processes of one thread each; all tests of a file run in the same one, and share its fixtures.
test: system lint docs
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/full.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/full.done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

demo: $(VENV)/base.done
	rm -rf $(DEMO)
	$(BIN)/pcseg synth $(DEMO)/raw --format s3dis --rooms 90 --seed 0 --workers 2
	$(BIN)/pcseg prepare s3dis $(DEMO)/raw $(DEMO)/processed --workers 2 --max-superpoints 1000
	$(BIN)/pcseg train configs/demo.yaml --run $(DEMO)/run
	$(BIN)/pcseg test configs/demo.yaml $(DEMO)/run/last.pt --json $(DEMO)/ap.json \
	    --report $(DEMO)/report.html --results $(DEMO)/results
	$(BIN)/pcseg show $$(ls $(DEMO)/results/*.npz | head -2) --png $(DEMO)/pictures --html $(DEMO)/pages
	$(BIN)/pcseg predict data/example_room.ply --out $(DEMO)/example
	@echo "activate the environment: source $(VENV)/bin/activate"
	@echo "look at $(DEMO)/pictures, open $(DEMO)/pages/*.html and $(DEMO)/report.html;"
	@echo "$(DEMO)/example has what the built-in model finds in a scan that looks like a phone's"

# Needs no installation: on a bare machine, packages that are missing may be on PYTHONPATH.
gpu-check:
	PYTHONPATH="$$PYTHONPATH:." $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) tools/gpu_check.py

clean:
	rm -rf $(VENV) outputs build .pytest_cache .ruff_cache
