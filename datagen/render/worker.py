# /// script
# requires-python = "==3.11.*"
# dependencies = [
#   "bpy==4.2.23",
#   "blenderproc==2.8.0",
#   "gitpython",
#   "h5py",
#   "imageio",
#   "numpy<2",
#   "opencv-python-headless==4.11.0.86",
#   "pillow",
#   "pypng",
#   "pyrender",
#   "python-dateutil",
#   "pytz",
#   "rich",
#   "scikit-image",
#   "scikit-learn",
#   "scipy",
#   "trimesh",
# ]
# ///
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders scenes in Blender; each request is one line of JSON.

Run by renderer.py in an environment of its own (``uv sync --script``), as
``worker.py SUPERVISOR_PID SOCKET_FD SETTINGS_JSON``. This is the only file that uses Blender and
BlenderProc, whose licence is the GPL. The rest of the project does not import this file, and this
file imports nothing of the project: scenes arrive as JSON (``SceneSpec`` of datagen/scene.py) and
linear pixels are returned as an ``.npz`` file, which datagen/render/rendering.py exposes.

The first line that the worker sends is ``{"ready": true}``. Each request
``{"spec", "meshes", "environment_mesh", "out"}`` is answered by ``{"ok": true}`` or
``{"error": message}``.
"""

import ctypes
import importlib.util
import itertools
import json
import math
import os
import signal
import socket
import sys
import tempfile
import traceback
import zlib

PR_SET_PDEATHSIG = 1
NEAR, FAR = 0.01, 1000.0
VIEW_FOV = math.radians(30)


def import_blenderproc():
    """Imports BlenderProc 2.8.0 on the bpy wheel.

    BlenderProc can be imported only inside its own Blender, which an environment variable pretends.
    Its import then runs pip and removes its site-packages from ``sys.path``: so that step is
    replaced before the package's own ``__init__`` runs, and the path is added a second time."""
    os.environ["INSIDE_OF_THE_INTERNAL_BLENDER_PYTHON_ENVIRONMENT"] = "1"
    spec = importlib.util.find_spec("blenderproc")
    site_packages = os.path.dirname(spec.submodule_search_locations[0])
    sys.path.append(site_packages)
    sys.modules["blenderproc"] = package = importlib.util.module_from_spec(spec)
    from blenderproc.python.utility.SetupUtility import SetupUtility

    SetupUtility.setup_pip = staticmethod(lambda *_, **__: site_packages)
    SetupUtility.main_setup_called = True
    SetupUtility.setup_utility_paths(tempfile.mkdtemp(prefix="blender-"))
    spec.loader.exec_module(package)
    return package


def initialise(bproc, settings):
    """Does what ``bproc.init()`` does, except for setting a user-interface language that the wheel
    lacks, and applies the settings of all scenes."""
    bproc.clean_up(clean_up_camera=True)
    bpy.context.scene.world.use_nodes = True
    bproc.renderer.set_render_devices(use_only_cpu=not settings["gpu"])
    _Initializer.set_default_parameters()
    GlobalStorage.add("bproc_init_complete", True)

    # With persistent data, a second rendering of the same scene has other pixels than the first.
    bpy.context.scene.render.use_persistent_data = False
    bproc.renderer.set_cpu_threads(settings["threads"])
    bproc.renderer.set_denoiser("INTEL" if settings["denoise"] else None)
    for node in bpy.context.scene.node_tree.nodes:
        if node.type == "DENOISE":
            # The accurate prefilter also denoises albedo and normals: three times the work, most
            # of the time of an identity view, for images that differ by 55 dB.
            node.prefilter = "NONE"
    bproc.renderer.set_noise_threshold(0)
    bproc.renderer.set_light_bounces(diffuse_bounces=3, glossy_bounces=2, max_bounces=4)
    bproc.renderer.set_output_format(file_format="OPEN_EXR", color_depth=16)
    bproc.renderer.enable_depth_output(activate_antialiasing=False)
    bproc.renderer.enable_segmentation_output(["category_id"], {"category_id": 0})


def load(bproc, path, matrix, index):
    """Loads the objects of a GLB, transformed by ``matrix`` (4, 4) and labelled ``index``.
    BlenderProc also returns the empties of the file's node tree: the matrix is applied to the roots
    only."""
    entities = bproc.loader.load_obj(path)
    for entity in entities:
        entity.set_cp("category_id", index)
        if entity.get_parent() is None:
            entity.set_local2world_mat(matrix @ entity.get_local2world_mat())
    return entities


def pose_matrix(pose):
    """Transform (4, 4) from the asset frame to the world."""
    matrix = Matrix.Rotation(pose["yaw"], 4, "Z")
    matrix.translation = pose["position"]
    return np.array(matrix)


def set_environment_map(bproc, environment_map):
    """Sets the environment map on a new Blender world: BlenderProc cannot change the map of one
    that has a map already."""
    world = bpy.data.worlds.new("World")
    bpy.context.scene.world = world
    world.use_nodes = True
    world["category_id"] = 0
    # The automatic importance map takes 0.9 s per rendering, most of the time of an identity view.
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = 256
    maps = os.path.join(bpy.utils.resource_path("LOCAL"), "datafiles", "studiolights", "world")
    bproc.world.set_world_background_hdr_img(
        os.path.join(maps, environment_map["name"] + ".exr"),
        environment_map["strength"],
        [0, 0, environment_map["rotation"]],
    )


def add_light(bproc, light):
    """Adds a ``Light`` of datagen/scene.py."""
    lamp = bproc.types.Light(light["kind"].upper())
    lamp.set_energy(light["strength"])
    lamp.set_color(light["color"])
    lamp.set_location(light["position"])
    lamp.set_rotation_mat(Vector(light["direction"]).to_track_quat("-Z", "Y").to_matrix())
    if light["kind"] == "sun":
        lamp.blender_obj.data.angle = light["size"]
    else:
        lamp.blender_obj.data.size = light["size"]
    return lamp


def set_camera(bproc, intrinsics, size, camera_to_world):
    """Sets the camera. ``intrinsics`` has pixel centres at halves and ``camera_to_world`` has
    OpenCV axes; BlenderProc expects pixel centres at integers and Blender's axes. ``size``: width
    and height in pixels."""
    intrinsics = np.array(intrinsics)
    intrinsics[:2, 2] -= 0.5
    bproc.utility.reset_keyframes()
    bproc.camera.set_intrinsics_from_K_matrix(intrinsics, *size, NEAR, FAR)
    bproc.camera.add_camera_pose(np.array(camera_to_world) @ np.diag([1.0, -1, -1, 1]))


def render_scene(bproc, spec, samples):
    """Renders the image (H, W, 3) linear float16, z-depth (H, W) float32 in metres with 0 for none,
    and instances (H, W) uint8."""
    camera = spec["camera"]
    size = (camera["width"], camera["height"])
    set_camera(bproc, camera["intrinsics"], size, camera["camera_to_world"])
    set_environment_map(bproc, spec["environment"]["environment_map"])
    # BlenderProc numbers the objects only once, when its output is enabled; ours are loaded later.
    for number, mesh in enumerate(bproc.object.get_all_mesh_objects(), start=1):
        mesh.blender_obj.pass_index = number
    bproc.renderer.set_max_amount_of_samples(samples)
    bproc.renderer.set_output_format(enable_transparency=False)
    data = bproc.renderer.render(verbose=True)
    (image,), (depth,) = data["colors"], data["depth"]
    (instances,) = data["category_id_segmaps"]
    if not set(np.unique(instances)) <= {0, *(s["index"] for s in spec["subjects"])}:
        raise ValueError(f"unexpected instance ids: {np.unique(instances).tolist()}")
    depth = np.where(depth < FAR, depth, 0).astype(np.float32)
    return image.astype(np.float16), depth, instances.astype(np.uint8)


def view_camera(subject, view, size):
    """Intrinsics and camera-to-world transform of a camera that sees the whole subject. The subject
    stays in its pose: instead of turning it by ``yaw``, the camera turns around it the other
    way."""
    extent = (
        Vector(subject["identity"]["asset"]["size"]) * subject["identity"]["appearance"]["scale"]
    )
    centre = Vector(subject["pose"]["position"]) + Vector((0, 0, extent.z / 2))
    turn = Matrix.Rotation(subject["pose"]["yaw"] - view["yaw"], 3, "Z")
    backward = turn @ Matrix.Rotation(-view["elevation"], 3, "X") @ Vector((0, -1, 0))
    distance = 1.02 * extent.length / 2 / math.sin(VIEW_FOV / 2)
    right = Vector((0, 0, 1)).cross(backward).normalized()
    up = backward.cross(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, -up, -backward, centre + distance * backward], axis=1)
    focal = size / 2 / math.tan(VIEW_FOV / 2)
    return [[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], pose


def render_view(bproc, subject, view, size, samples):
    """Renders the one subject that is not hidden as (S, S, 4) linear float16, multiplied by
    alpha."""
    intrinsics, pose = view_camera(subject, view, size)
    set_camera(bproc, intrinsics, (size, size), pose)
    set_environment_map(bproc, view["environment_map"])
    bproc.renderer.set_max_amount_of_samples(samples)
    bproc.renderer.set_output_format(enable_transparency=True)
    data = bproc.renderer.render(
        load_keys={"colors"}, keys_with_alpha_channel={"colors"}, verbose=True
    )
    return data["colors"][0]


def render(bproc, request, settings):
    """Renders the image and the identity views of a scene and writes them to ``request["out"]``."""
    bproc.clean_up()
    spec = request["spec"]
    cycles_seed = f"{spec['seed']} {spec['key']} {spec['draw']}"
    bpy.context.scene.cycles.seed = zlib.crc32(cycles_seed.encode()) >> 1
    environment = load(bproc, request["environment_mesh"], np.eye(4), 0)
    environment += [add_light(bproc, light) for light in spec["environment"]["lights"]]
    subjects = [
        load(bproc, path, pose_matrix(subject["pose"]), subject["index"])
        for path, subject in zip(request["meshes"], spec["subjects"], strict=True)
    ]
    image, depth, instances = render_scene(bproc, spec, settings["samples"])

    for entity in [*environment, *itertools.chain(*subjects)]:
        entity.hide(True)
    size, views = settings["identity_size"], []
    for subject, meshes in zip(spec["subjects"], subjects, strict=True):
        for mesh in meshes:
            mesh.hide(False)
        for view in subject["views"]:
            views.append(render_view(bproc, subject, view, size, settings["view_samples"]))
        for mesh in meshes:
            mesh.hide(True)
    views = np.array(views, np.float16).reshape(len(subjects), -1, size, size, 4)
    np.savez(request["out"], image=image, depth=depth, instances=instances, views=views)


def serve(bproc, channel, settings):
    """Answers requests until the supervisor closes the socket."""
    with channel.makefile("rw", encoding="utf-8") as lines:
        print(json.dumps({"ready": True}), file=lines, flush=True)
        for line in lines:
            try:
                render(bproc, json.loads(line), settings)
                answer = {"ok": True}
            # Whatever Blender raises, because of a model file for example, is reported.
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=lines, flush=True)


if __name__ == "__main__":
    supervisor, channel = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    # The kernel kills this process when its supervisor ends, in whatever way.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit("the supervisor has ended")
    settings = json.loads(sys.argv[3])
    bproc = import_blenderproc()
    import bpy
    import numpy as np
    from blenderproc.python.utility.GlobalStorage import GlobalStorage
    from blenderproc.python.utility.Initializer import _Initializer
    from mathutils import Matrix, Vector

    initialise(bproc, settings)
    serve(bproc, channel, settings)
    sys.stdout.flush()
    os._exit(0)  # bpy crashes when it cleans up at the exit of the interpreter
