// The 3D view of a scene: points from its depth map, 3D boxes, and the camera.
import * as THREE from "./vendor/three.module.min.js";
import { OrbitControls } from "./vendor/OrbitControls.js";
import { BACK, COLORS, FRONT } from "./picture.js";

const FARTHEST = 10; // times the depth of the farthest subject: points beyond are sky and horizon
const TURN = Math.PI / 24; // of one press of an arrow key, in radians
const CAMERA_SIZE = 0.2; // depth of the pyramid that shows the camera / depth of the nearest subject
const OVERLAP = 1.4; // size of a point / distance to the next one, seen from the camera

export class PointCloudView {
  #renderer; #camera; #controls; #world = new THREE.Scene(); #scene; #points;

  constructor(canvas, scene) {
    this.#scene = scene;
    this.#renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    this.#renderer.setClearColor(0x101114);
    this.#camera = new THREE.PerspectiveCamera(50, 4 / 3, 0.01, 500);
    this.#camera.up.copy(upOf(scene)); // before OrbitControls reads it
    this.#controls = new OrbitControls(this.#camera, canvas);
    this.#leavePageToOneFinger(canvas);
    this.#controls.addEventListener("change", () => this.#render());
    canvas.addEventListener("keydown", (event) => this.#turnByKey(event));
    this.#points = new THREE.PointsMaterial({ sizeAttenuation: false, vertexColors: true });
    this.#world.add(new THREE.Points(backProjected(scene), this.#points));
    for (const [i, box] of scene.boxes.entries()) this.#world.add(...boxLines(box.corners, COLORS[i % 10]));
    this.#world.add(cameraLines(scene));
    this.fromSide();
  }

  /** Look from the position of the image's camera, with its field of view. */
  fromCamera() {
    const { record } = this.#scene;
    const focal = record.camera.intrinsics[1][1];
    this.#camera.fov = (2 * Math.atan(record.height / 2 / focal) * 180) / Math.PI;
    this.#lookFrom(new THREE.Vector3(0, 0, 0));
  }

  fromSide() {
    const middle = this.#middle();
    const back = middle.clone().negate().projectOnPlane(this.#camera.up).normalize();
    const away = back.applyAxisAngle(this.#camera.up, Math.PI / 4).addScaledVector(this.#camera.up, 0.5);
    this.#camera.fov = 50;
    this.#lookFrom(middle.clone().addScaledVector(away, middle.length()));
  }

  dispose() {
    this.#controls.dispose();
    this.#renderer.dispose();
  }

  /** Arrows turn the scene, + and - change the distance. */
  #turnByKey(event) {
    const { up, position } = this.#camera;
    const offset = position.clone().sub(this.#controls.target);
    const sideways = up.clone().cross(offset).normalize();
    const turn = { ArrowLeft: [up, TURN], ArrowRight: [up, -TURN], ArrowUp: [sideways, -TURN], ArrowDown: [sideways, TURN] }[event.key];
    const factor = { "+": 1 / 1.2, "-": 1.2 }[event.key];
    if (!turn && !factor) return;
    event.preventDefault();
    event.stopPropagation(); // or + and - would zoom the image, too
    if (turn) offset.applyAxisAngle(...turn);
    else offset.multiplyScalar(factor);
    if (Math.sin(offset.angleTo(up)) < 0.1) return; // over the pole, the scene would tip over
    position.copy(this.#controls.target).add(offset);
    this.#controls.update();
  }

  /** One finger scrolls the page, two fingers turn the scene. */
  #leavePageToOneFinger(canvas) {
    canvas.style.touchAction = "pan-y";
    this.#controls.touches = { ONE: null, TWO: THREE.TOUCH.DOLLY_ROTATE };
    const keep = (event) => event.touches.length > 1 && event.preventDefault();
    for (const kind of ["touchstart", "touchmove"]) canvas.addEventListener(kind, keep, { passive: false });
  }

  #middle() {
    const sum = new THREE.Vector3();
    for (const { box3d: { center } } of this.#scene.record.subjects) sum.add(toThree(center));
    return sum.divideScalar(this.#scene.record.n_subjects);
  }

  #lookFrom(from) {
    this.#camera.position.copy(from);
    this.#controls.target.copy(from.lengthSq() ? this.#middle() : toThree([0, 0, this.#middle().length()]));
    this.#controls.update();
    this.#render();
  }

  #render() {
    const canvas = this.#renderer.domElement;
    this.#renderer.setSize(canvas.clientWidth, canvas.clientHeight, false);
    this.#camera.aspect = canvas.clientWidth / Math.max(1, canvas.clientHeight);
    this.#camera.updateProjectionMatrix();
    this.#points.size = this.#pointSize(canvas.clientHeight);
    this.#renderer.render(this.#world, this.#camera);
  }

  /** The size of a point in pixels: seen from the image's camera, that of one image pixel; larger from nearer. */
  #pointSize(height) {
    const pixel = 1 / this.#scene.record.camera.intrinsics[1][1]; // at one metre
    const focal = height / 2 / Math.tan((this.#camera.fov * Math.PI) / 360);
    const middle = this.#middle();
    return Math.max(1, (OVERLAP * pixel * focal * middle.length()) / this.#camera.position.distanceTo(middle));
  }
}

/** The world's z axis (up) in the camera frame of three.js, a unit vector. */
const upOf = ({ record }) => toThree(record.camera.camera_to_world[2]).normalize();

/** From OpenCV's camera frame (y down, z forward) to that of three.js (y up, z backward), in metres. */
const toThree = ([x, y, z]) => new THREE.Vector3(x, -y, -z);

/** The depth map as points in metres with the image's colours. */
function backProjected({ record, depth, image }) {
  const { width, height } = record;
  const [[fx, , cx], [, fy, cy]] = record.camera.intrinsics;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const limit = FARTHEST * Math.max(...record.subjects.map(({ box3d: { center } }) => center[2]));
  const positions = [], colors = [];
  for (let at = 0; at < depth.length; at++) {
    const z = depth[at] * record.depth.meters_per_unit;
    if (!z || z > limit) continue;
    const x = ((at % width) + 0.5 - cx) / fx, y = (Math.floor(at / width) + 0.5 - cy) / fy;
    positions.push(x * z, -y * z, -z);
    const color = new THREE.Color().setRGB(
      pixels[4 * at] / 255, pixels[4 * at + 1] / 255, pixels[4 * at + 2] / 255, THREE.SRGBColorSpace);
    colors.push(color.r, color.g, color.b);
  }
  const points = new THREE.BufferGeometry();
  points.setAttribute("position", new THREE.Float32BufferAttribute(positions, 3));
  points.setAttribute("color", new THREE.Float32BufferAttribute(colors, 3));
  return points;
}

/** ``material``: properties of the lines other than their colour. */
function lines(ends, color, material = {}) {
  const geometry = new THREE.BufferGeometry().setFromPoints(ends);
  return new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color, ...material }));
}

/** A box, and fainter the same lines where points hide them. */
function boxLines(corners, [r, g, b]) {
  const at = corners.map(toThree);
  const ring = (face) => face.flatMap((corner, i) => [at[corner], at[face[(i + 1) % 4]]]);
  const cross = [at[FRONT[0]], at[FRONT[2]], at[FRONT[1]], at[FRONT[3]]]; // marks the front
  const sides = FRONT.flatMap((front, i) => [at[front], at[BACK[i]]]);
  const ends = [...ring(FRONT), ...ring(BACK), ...sides, ...cross];
  const color = new THREE.Color(`rgb(${r},${g},${b})`);
  const hidden = lines(ends, color, { transparent: true, opacity: 0.5, depthFunc: THREE.GreaterDepth, depthWrite: false });
  return [hidden, lines(ends, color)];
}

function cameraLines({ record }) {
  const [[fx, , cx], [, fy, cy]] = record.camera.intrinsics;
  const depth = CAMERA_SIZE * Math.min(...record.subjects.map(({ box3d: { center } }) => center[2]));
  const corner = (u, v) => toThree([((u - cx) / fx) * depth, ((v - cy) / fy) * depth, depth]);
  const { width, height } = record;
  const rim = [corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)];
  const eye = new THREE.Vector3();
  return lines(rim.flatMap((point, i) => [eye, point, point, rim[(i + 1) % 4]]), 0xffffff);
}
