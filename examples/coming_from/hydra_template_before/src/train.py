import sys
from pathlib import Path

import hydra
import lightning as L

sys.path.insert(0, str(Path(__file__).parents[1]))


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg):
    L.seed_everything(cfg.seed, workers=True)
    datamodule = hydra.utils.instantiate(cfg.data)
    model = hydra.utils.instantiate(cfg.model)
    callbacks = [hydra.utils.instantiate(each) for each in (cfg.get("callbacks") or {}).values()]
    logger = [hydra.utils.instantiate(each) for each in (cfg.get("logger") or {}).values()]
    trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks, logger=logger)
    trainer.fit(model=model, datamodule=datamodule, ckpt_path=cfg.ckpt_path)
    return trainer.callback_metrics[cfg.optimized_metric].item()


if __name__ == "__main__":
    main()
