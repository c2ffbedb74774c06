"""CIFAR-10: its files, every way in which one can be bad, and colour images as a data set."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from growenv.streams import DATASETS, Context, Dataset, Task, Transform, before_noise, cifar, data_note, pooled
from growenv.streams.row_data import RowData
from growenv.testing import check_dataset, check_env

OFFICIAL = Path(os.environ.get("GROWENV_DATA", "")) / "cifar-10-batches-bin" / "test_batch.bin"
SMALL: dict[str, Any] = {
    **{"tasks": 2, "decisions": 2, "minibatches": 2, "batch_size": 4, "meter": "neurons"},
    **{"hidden": (2, 2), "max_hidden": (4, 4), "amounts": (1,), "budget": (0.6, 0.9)},
}


@pytest.fixture
def colours(cifar_folder: Path) -> Dataset:
    """The tiny data set; not by `load_dataset`, which would keep it."""
    return DATASETS.make("cifar-10")


def damage(path: Path, place: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)


# -- files -----------------------------------------------------------------------------------------------------------


def test_hand_written_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path))
    (tmp_path / "cifar-10-batches-bin").mkdir()
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for number, name in enumerate(names):
        red, green, blue = bytes([number]) * 1024, bytes([100]) * 1024, bytes([200]) * 1023 + b"\xff"
        (tmp_path / "cifar-10-batches-bin" / name).write_bytes(bytes([9 - number]) + red + green + blue)
    pixels, labels = cifar.read_cifar10(records=1)
    assert labels.tolist() == [9, 8, 7, 6, 5, 4]
    assert pixels.shape == (6, 3072)
    assert pixels[:, 0].tolist() == pixels[:, 1023].tolist() == [0, 1, 2, 3, 4, 5]
    assert set(pixels[:, 1024:2048].ravel()) == {100}
    assert (pixels[5, 2048], pixels[5, 3070], pixels[5, 3071]) == (200, 200, 255)


def test_missing_files_are_named_with_where_to_get_them(cifar_folder: Path) -> None:
    for name in ("data_batch_3.bin", "test_batch.bin"):
        (cifar_folder / name).unlink()
    message = "no data_batch_3.bin, test_batch.bin in .*cs.toronto.edu/~kriz/cifar.html.*GROWENV_DATA"
    with pytest.raises(FileNotFoundError, match=message) as caught:
        DATASETS.make("cifar-10")
    assert str(cifar_folder) in str(caught.value)


def test_a_missing_folder_names_all_six_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"no data_batch_1.bin, .*data_batch_5.bin, test_batch.bin in"):
        cifar.read_cifar10()


@pytest.mark.parametrize("change", [-3073, -1, 1, 3073])
def test_a_file_of_another_size_is_refused(cifar_folder: Path, change: int) -> None:
    path = cifar_folder / "data_batch_2.bin"
    path.write_bytes((path.read_bytes() + bytes(3073))[: 20 * 3073 + change])
    with pytest.raises(ValueError, match=rf"data_batch_2.bin: {61460 + change} bytes, expected 61460 \(20 records"):
        DATASETS.make("cifar-10")


def test_an_empty_file_is_refused(cifar_folder: Path) -> None:
    (cifar_folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="test_batch.bin: 0 bytes"):
        DATASETS.make("cifar-10")


def test_official_files_hold_ten_thousand_records(cifar_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("GROWENV_DATA", str(cifar_folder.parent))
    with pytest.raises(ValueError, match=r"data_batch_1.bin: 61460 bytes, expected 30730000 \(10000 records"):
        DATASETS.make("cifar-10")


@pytest.mark.parametrize("label", [10, 255])
def test_a_label_out_of_range_is_refused(cifar_folder: Path, label: int) -> None:
    damage(cifar_folder / "data_batch_5.bin", 7 * 3073, label)
    with pytest.raises(ValueError, match=rf"data_batch_5.bin: record 7 has the label {label}, expected 0..9"):
        DATASETS.make("cifar-10")


def test_a_class_without_test_samples_is_refused(cifar_folder: Path) -> None:
    for record in (3, 13):
        damage(cifar_folder / "test_batch.bin", record * 3073, 0)
    with pytest.raises(ValueError, match="'cifar-10': test holds no sample of class 3"):
        DATASETS.make("cifar-10")


# -- the data set ----------------------------------------------------------------------------------------------------


def test_parts_and_bytes(colours: Dataset, cifar_folder: Path) -> None:
    assert (colours.name, colours.features, colours.classes, colours.image_shape) == ("cifar-10", 3072, 10, None)
    assert colours.inputs.dtype == torch.uint8
    assert colours.inputs.nbytes == 120 * 3072
    # A sixth of the 100 train images is 16.7, so 17.
    assert (len(colours.train), len(colours.validation)) == (83, 17)
    assert colours.test.tolist() == list(range(100, 120))
    last = np.fromfile(cifar_folder / "test_batch.bin", dtype=np.uint8)[-3072:]
    np.testing.assert_array_equal(colours.inputs[119], last)


def test_one_shift_and_scale_for_all_planes_from_the_train_part_alone(colours: Dataset, cifar_folder: Path) -> None:
    values = colours.inputs[colours.train].double().numpy()
    assert colours.shift == pytest.approx(values.mean(), rel=1e-12)
    assert colours.scale == pytest.approx(1 / values.std(), rel=1e-12)
    outside = int(colours.validation[0])
    damage(cifar_folder / f"data_batch_{outside // 20 + 1}.bin", outside % 20 * 3073 + 1, 255)
    damage(cifar_folder / "test_batch.bin", 1, 255)
    moved = DATASETS.make("cifar-10")
    assert moved.fingerprint != colours.fingerprint
    assert (moved.shift, moved.scale) == (colours.shift, colours.scale)


def test_rows_read_colour_bytes_in_any_order(colours: Dataset) -> None:
    data = RowData(colours, 1, 1, 10, 5, 5)
    transform = Transform(permutation=4)
    context = Context("permuted", "cifar-10", "train", 0, (Task(transform, tuple(range(10))),), 1.0, 0.0, 3)
    data.begin(np.ones(1, dtype=bool), [context])
    index = torch.tensor([[4, 0, 119]])
    expected = (colours.inputs[index].float() - colours.shift) * colours.scale
    torch.testing.assert_close(data.gather(index)[..., :-1], expected)
    assert sorted(transform.pixel_order(colours)) == list(range(3072))
    np.testing.assert_array_equal(data.pixels[0, 0, :-1], transform.pixel_order(colours))
    low, high = data.bounds
    assert low < -1.5 and high > 1.5  # uniform bytes: +-1.73


@pytest.mark.parametrize("streams", ["permuted", "split", "mixed"])
def test_an_environment_of_colour_images_keeps_every_promise(colours: Dataset, streams: str) -> None:
    check_env(dataset=colours, streams=streams, **SMALL)


def test_the_checks_for_data_sets_pass(colours: Dataset) -> None:
    check_dataset("cifar-10")


def test_what_needs_grey_images_is_refused(colours: Dataset) -> None:
    with pytest.raises(ValueError, match="'cifar-10' has no image_shape .*images in colour.*cannot be rotated"):
        colours.bank(30)
    for angle in (30, 90):
        with pytest.raises(ValueError, match=f"rotation {angle} needs grey images; dataset 'cifar-10' .*in colour"):
            Transform(rotation=angle).pixel_order(colours)
    with pytest.raises(ValueError, match="'cifar-10' has no image_shape .*in colour.*cannot be pooled to 16 x 16"):
        pooled(colours, 16)
    with pytest.raises(ValueError, match="'cifar-10' holds no grey 8-bit images"):
        before_noise(colours)
    with pytest.raises(ValueError, match="'rotated' needs square images, dataset 'cifar-10' has image_shape None"):
        check_env(dataset=colours, streams="rotated", **SMALL)


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs GROWENV_DATA to name the folder of cifar-10-batches-bin")
def test_official_files() -> None:
    begin = time.perf_counter()
    dataset = DATASETS.make("cifar-10")
    assert time.perf_counter() - begin < 10  # about one second on an idle machine
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (41_667, 8_333, 10_000)
    assert dataset.inputs.shape == (60_000, 3072)
    assert torch.bincount(dataset.labels).tolist() == [6000] * 10
    assert torch.bincount(dataset.labels[dataset.test]).tolist() == [1000] * 10
    # The figures everybody uses are those of each plane, of all 50,000 training images.
    planes = dataset.inputs[:50_000].view(-1, 3, 1024)
    means = [float(planes[:, plane].float().mean()) / 255 for plane in range(3)]
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
    assert dataset.shift / 255 == pytest.approx(np.mean(means), abs=2e-3)
    assert 1 / dataset.scale / 255 == pytest.approx(0.2516, abs=5e-3)
    assert data_note("cifar-10").isprintable()
