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
"""Renders scenes in Blender, one JSON line at a time.

Run by renderer.py in an environment of its own (``uv sync --script``), as
``worker.py SUPERVISOR_PID SOCKET_FD SETTINGS_JSON``. This is the only file that touches Blender and
BlenderProc, whose licence is the GPL; nothing here is imported by the rest, and nothing of
the rest is imported here: scenes come as JSON (``SceneSpec`` of datagen/scene.py) and pixels
go back as an ``.npz`` file.

Each request ``{"spec", "meshes", "environment_mesh", "out"}`` is answered by ``{"ok": true}`` or
``{"error": message}``; the first line of all is ``{"ready": true}``.
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
    """BlenderProc 2.8.0 on the bpy wheel. It loads only where it believes itself inside its own
    Blender, and on import it runs pip there and takes its site-packages off ``sys.path``: so
    that step is replaced before the package's own ``__init__`` runs, and the path stands twice."""
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
    """What ``bproc.init()`` does, less a user-interface language that the wheel lacks; then
    what holds for every scene."""
    bproc.clean_up(clean_up_camera=True)
    bpy.context.scene.world.use_nodes = True
    bproc.renderer.set_render_devices(use_only_cpu=not settings["gpu"])
    _Initializer.set_default_parameters()
    GlobalStorage.add("bproc_init_complete", True)

    # With it a second render of the same scene comes out other pixels than the first.
    bpy.context.scene.render.use_persistent_data = False
    bproc.renderer.set_cpu_threads(settings["threads"])
    bproc.renderer.set_denoiser("INTEL" if settings["denoise"] else None)
    for node in bpy.context.scene.node_tree.nodes:
        if node.type == "DENOISE":
            # The accurate prefilter denoises albedo and normals too: three times the work, most
            # of the time of an identity view, for a picture that differs by 55 dB.
            node.prefilter = "NONE"
    bproc.renderer.set_noise_threshold(0)
    bproc.renderer.set_light_bounces(diffuse_bounces=3, glossy_bounces=2, max_bounces=4)
    bproc.renderer.set_output_format(file_format="PNG", view_transform="Standard")
    bproc.renderer.enable_depth_output(activate_antialiasing=False)
    bproc.renderer.enable_segmentation_output(["category_id"], {"category_id": 0})


def load(bproc, path, matrix, index):
    """The objects of a GLB, moved by ``matrix`` and labelled ``index``. BlenderProc returns the
    empties of the file's node tree among the meshes: the matrix goes to the roots alone."""
    entities = bproc.loader.load_obj(path)
    for entity in entities:
        entity.set_cp("category_id", index)
        if entity.get_parent() is None:
            entity.set_local2world_mat(matrix @ entity.get_local2world_mat())
    return entities


def pose_matrix(pose):
    matrix = Matrix.Rotation(pose["yaw"], 4, "Z")
    matrix.translation = pose["position"]
    return np.array(matrix)


def set_environment_map(bproc, environment_map):
    """A fresh world: one that BlenderProc has set an environment map on cannot take another."""
    bpy.context.scene.world = fresh = bpy.data.worlds.new("World")
    fresh.use_nodes = True
    fresh["category_id"] = 0
    # The automatic importance map takes 0.9 s a render, most of the time of an identity view.
    fresh.cycles.sampling_method = "MANUAL"
    fresh.cycles.sample_map_resolution = 256
    maps = os.path.join(bpy.utils.resource_path("LOCAL"), "datafiles", "studiolights", "world")
    bproc.world.set_world_background_hdr_img(
        os.path.join(maps, environment_map["name"] + ".exr"),
        environment_map["strength"],
        [0, 0, environment_map["rotation"]],
    )


def add_light(bproc, light):
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
    """``intrinsics`` has pixel centres at halves, ``camera_to_world`` OpenCV axes; BlenderProc
    wants pixel centres at integers, and Blender's axes."""
    intrinsics = np.array(intrinsics)
    intrinsics[:2, 2] -= 0.5
    bproc.utility.reset_keyframes()
    bproc.camera.set_intrinsics_from_K_matrix(intrinsics, *size, NEAR, FAR)
    bproc.camera.add_camera_pose(np.array(camera_to_world) @ np.diag([1.0, -1, -1, 1]))


def render_scene(bproc, spec, samples):
    """Image (H, W, 3) uint8, depth (H, W) float32 with 0 for none, instances (H, W) uint8."""
    camera = spec["camera"]
    size = (camera["width"], camera["height"])
    set_camera(bproc, camera["intrinsics"], size, camera["camera_to_world"])
    set_environment_map(bproc, spec["environment"]["environment_map"])
    # BlenderProc numbers the objects when it enables the output; ours come and go after that.
    for number, mesh in enumerate(bproc.object.get_all_mesh_objects(), start=1):
        mesh.blender_obj.pass_index = number
    bproc.renderer.set_max_amount_of_samples(samples)
    bproc.renderer.set_output_format(enable_transparency=False)
    data = bproc.renderer.render(verbose=True)
    (image,), (depth,) = data["colors"], data["depth"]
    (instances,) = data["category_id_segmaps"]
    if not set(np.unique(instances)) <= {0, *(s["index"] for s in spec["subjects"])}:
        raise ValueError(f"unplanned instance ids: {np.unique(instances).tolist()}")
    return image, np.where(depth < FAR, depth, 0).astype(np.float32), instances.astype(np.uint8)


def view_camera(subject, view, size):
    """A camera that sees the whole subject, which stays where it is: to turn the subject by
    ``yaw`` before the camera is to turn the camera the other way round it."""
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
    """The one subject that is not hidden, (S, S, 4) uint8 with straight alpha."""
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
    """Everything of one scene, written to ``request["out"]``."""
    bproc.clean_up()
    spec = request["spec"]
    noise = f"{spec['seed']} {spec['key']} {spec['draw']}"
    bpy.context.scene.cycles.seed = zlib.crc32(noise.encode()) >> 1
    scenery = load(bproc, request["environment_mesh"], np.eye(4), 0)
    scenery += [add_light(bproc, light) for light in spec["environment"]["lights"]]
    actors = [
        load(bproc, path, pose_matrix(subject["pose"]), subject["index"])
        for path, subject in zip(request["meshes"], spec["subjects"], strict=True)
    ]
    image, depth, instances = render_scene(bproc, spec, settings["samples"])

    for entity in [*scenery, *itertools.chain(*actors)]:
        entity.hide(True)
    size, views = settings["identity_size"], []
    for subject, meshes in zip(spec["subjects"], actors, strict=True):
        for mesh in meshes:
            mesh.hide(False)
        for view in subject["views"]:
            views.append(render_view(bproc, subject, view, size, settings["view_samples"]))
        for mesh in meshes:
            mesh.hide(True)
    views = np.array(views, np.uint8).reshape(len(actors), -1, size, size, 4)
    np.savez(request["out"], image=image, depth=depth, instances=instances, views=views)


def serve(bproc, channel, settings):
    with channel.makefile("rw", encoding="utf-8") as lines:
        print(json.dumps({"ready": True}), file=lines, flush=True)
        for line in lines:
            try:
                render(bproc, json.loads(line), settings)
                answer = {"ok": True}
            # The boundary of the process: whatever Blender or a model file does is reported.
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=lines, flush=True)


if __name__ == "__main__":
    supervisor, channel = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    # No orphans: the kernel kills this process with its supervisor, however that one dies.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit("the supervisor is gone")
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
    os._exit(0)  # bpy crashes in its own clean-up at interpreter exit
