"""The verbs of the model: train, sample."""

from __future__ import annotations

import sys
from pathlib import Path

from datagen.atomic import create_file
from datagen.errors import UserError
from datagen.validation import Count, PositiveOrZero, Seed
from pipelines.cli import dataset_verbs
from pipelines.cli.arguments import VerbParser, cache_folder, option_of, require_extra
from pipelines.cli.keys import add_keys, parse_with_keys, shipped_presets


def train(arguments: list[str]) -> int:
    """Train a model on shards, or go on with a run, and report what it has learned."""
    parser = VerbParser(
        "train",
        train,
        "sigma train out/tiny/shards --train.seed 1 --out out/run",
        "[SHARDS] [--preset NAME|FILE] [--resume latest] [--KEY VALUE ...]",
    )
    require_extra("diffusers", "train")
    from pipelines.training.config import TrainingConfig

    parser.add_argument(
        "shards", nargs="?", help="a packed set (default: out/DATASET/shards, made if absent)"
    )
    parser.add_argument("--out", help="the folder of the run (default: out/train/NAME)")
    parser.add_argument("--resume", choices=["latest"], help="go on from the last checkpoint")
    parser.add_argument(
        "--allow_changed_data",
        action="store_true",
        help="with --resume: go on though the set is not the one that the run was started on",
    )
    parser.add_argument("--address", default="", help="a Ray cluster to work on")
    parser.add_cache()
    add_keys(parser, TrainingConfig, "train", "tiny")
    args, config = parse_with_keys(parser, arguments, TrainingConfig, "train")
    from pipelines.training.job import check, check_resources, run
    from pipelines.training.report import baseline_folders, make_report, write_report

    baselines = baseline_folders(config)
    if args.out and "://" in args.out:
        raise UserError(f"--out: {args.out}, expected a folder that all machines of a run see")
    out, resume = Path(args.out or f"out/train/{config.name}"), args.resume is not None
    if args.allow_changed_data and not resume:
        raise UserError("--allow_changed_data: goes with --resume latest only")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file, expected a folder")
    check(config, out, resume=resume)
    shards = args.shards or f"out/{config.dataset}/shards"
    if args.shards is None and not Path(shards).exists():
        if config.dataset not in (presets := shipped_presets("dataset")):
            raise UserError(
                f"dataset: {config.dataset}, expected one of {', '.join(presets)}, or SHARDS "
                "before the keys: a set that is there"
            )
        check_resources(
            config.job, args.address, cache_folder(args)
        )  # before minutes go into a set
        words = ["--preset", config.dataset, "--cache", args.cache, "--address", args.address]
        if code := dataset_verbs.dataset(words):
            return code
    outcome = run(
        config,
        shards,
        out,
        cache_folder(args),
        resume=resume,
        changed_data=args.allow_changed_data,
        address=args.address,
    )
    print(f"{outcome.step} steps\nmodel:  {outcome.model}")
    if config.report.scenes:
        report = make_report(config, shards, outcome.model, baselines)
        text, picture = write_report(report, outcome.model.parent)
        print(f"{text.read_text()}\nreport: {text}, {picture}")
    return 0


def sample(arguments: list[str]) -> int:
    """Generate the picture that a scene file describes, with a trained model."""
    parser = VerbParser("sample", sample, "sigma sample scene.yaml --checkpoint out/train/tiny")
    parser.add_argument("scene", help="a YAML file (its keys: docs/sampling.md)")
    parser.add_argument("--checkpoint", required=True, help="a run, its checkpoint, or a model")
    parser.add_argument(
        "--base", metavar="FOLDER", help="the FLUX.1-Kontext-dev that it was trained on, if moved"
    )
    parser.add_argument("--out", default="sample.png", help="the picture (default: sample.png)")
    parser.add_argument(
        "--steps", type=option_of(Count), default=28, help="sampling steps (default: 28)"
    )
    parser.add_argument(
        "--guidance",
        type=option_of(PositiveOrZero),
        default=2.5,
        help="guidance scale passed to guidance-distilled models (default: 2.5)",
    )
    parser.add_argument(
        "--image_guidance",
        type=option_of(PositiveOrZero),
        default=1.0,
        help="classifier-free guidance on references and controls; 1 is none (default: 1)",
    )
    parser.add_argument("--seed", type=option_of(Seed), default=0, help="of the noise (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for a GPU (default: cpu)")
    parser.add_cache()
    args = parser.parse_args(arguments)
    require_extra("diffusers", "train")
    from PIL import Image

    from pipelines.sampling.run import picture_path
    from pipelines.sampling.run import sample as sample_scene

    out = picture_path(args.out)
    picture = sample_scene(
        Path(args.scene),
        Path(args.checkpoint),
        cache_folder(args),
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        image_guidance_scale=args.image_guidance,
        seed=args.seed,
        device=args.device,
        base=args.base,
        warn=lambda warning: print(f"warning: {warning}", file=sys.stderr),
    )
    with create_file(out) as stream:
        picture.save(stream, Image.registered_extensions()[out.suffix.lower()])
    print(out)
    return 0
