import logging

import catsdogs


def test_the_steps_are_logged_and_no_handler_is_installed(tmp_path, draw, encode, write_folder, tiny_backbone, caplog):
    images = {
        f"{kind}.{n}.jpg": encode(draw(n + 50 * (kind == "dog")), "JPEG") for kind in ("cat", "dog") for n in range(10)
    }
    data = write_folder(tmp_path / "data", images | {"test/1.jpg": encode(draw(1), "JPEG")})
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "catsdogs"]
    with caplog.at_level(logging.INFO, "catsdogs"):
        catsdogs.run(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    said = [record.name for record in caplog.records]
    assert [name for name in said if name.startswith("catsdogs")] == [
        "catsdogs.commands.extract",
        "catsdogs.commands.train",
        "catsdogs.commands.submit",
    ]
    assert all(logging.getLogger(name).handlers == [] for name in names)
