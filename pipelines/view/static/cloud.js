// The scene in three dimensions: points from depth, boxes, the camera that saw it.
import * as THREE from "./vendor/three.module.min.js";
import { OrbitControls } from "./vendor/OrbitControls.js";
import { BACK, COLORS, FRONT } from "./picture.js";

const FARTHEST = 10; // times the farthest subject's depth: what is beyond is sky and horizon
const OVERLAP = 1.4; // of neighbouring points, seen from the camera

export class Cloud {
  #renderer; #camera; #controls; #world = new THREE.Scene(); #scene; #points;

  constructor(canvas, scene) {
    this.#scene = scene;
    this.#renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    this.#renderer.setClearColor(0x101114);
    this.#camera = new THREE.PerspectiveCamera(50, 4 / 3, 0.01, 500);
    this.#camera.up.copy(upOf(scene)); // before the controls take note of it
    this.#controls = new OrbitControls(this.#camera, canvas);
    this.#leavePageToOneFinger(canvas);
    this.#controls.addEventListener("change", () => this.#render());
    this.#points = new THREE.PointsMaterial({ sizeAttenuation: false, vertexColors: true });
    this.#world.add(new THREE.Points(backProjected(scene), this.#points));
    for (const [i, box] of scene.boxes.entries()) this.#world.add(boxLines(box.corners, COLORS[i % 10]));
    this.#world.add(frustum(scene));
    this.fromAside();
  }

  /** From where the picture was taken. */
  fromCamera() {
    const { record } = this.#scene;
    const focal = record.camera.intrinsics[1][1];
    this.#camera.fov = (2 * Math.atan(record.height / 2 / focal) * 180) / Math.PI;
    this.#look(new THREE.Vector3(0, 0, 0));
  }

  fromAside() {
    const middle = this.#middle();
    const back = middle.clone().negate().projectOnPlane(this.#camera.up).normalize();
    const away = back.applyAxisAngle(this.#camera.up, Math.PI / 4).addScaledVector(this.#camera.up, 0.5);
    this.#camera.fov = 50;
    this.#look(middle.clone().addScaledVector(away, middle.length()));
  }

  dispose() {
    this.#controls.dispose();
    this.#renderer.dispose();
  }

  /** A page is scrolled by it; two turn the scene. */
  #leavePageToOneFinger(canvas) {
    canvas.style.touchAction = "pan-y";
    this.#controls.touches = { ONE: null, TWO: THREE.TOUCH.DOLLY_ROTATE };
    const keep = (event) => event.touches.length > 1 && event.preventDefault();
    for (const kind of ["touchstart", "touchmove"]) canvas.addEventListener(kind, keep, { passive: false });
  }

  #middle() {
    const sum = new THREE.Vector3();
    for (const { box3d: { center } } of this.#scene.record.subjects) sum.add(seen(center));
    return sum.divideScalar(this.#scene.record.n_subjects);
  }

  #look(from) {
    this.#camera.position.copy(from);
    this.#controls.target.copy(from.lengthSq() ? this.#middle() : seen([0, 0, this.#middle().length()]));
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

  /** In pixels: that of the picture's pixels, seen from its camera; from nearer they are larger. */
  #pointSize(height) {
    const pixel = 1 / this.#scene.record.camera.intrinsics[1][1]; // at one metre
    const focal = height / 2 / Math.tan((this.#camera.fov * Math.PI) / 360);
    const middle = this.#middle();
    return Math.max(1, (OVERLAP * pixel * focal * middle.length()) / this.#camera.position.distanceTo(middle));
  }
}

/** Where the world's up (z) points, seen from the camera. */
const upOf = ({ record }) => seen(record.camera.camera_to_world[2]).normalize();

/** OpenCV's camera frame (y down, z forward) to that of three.js (y up, z towards us). */
const seen = ([x, y, z]) => new THREE.Vector3(x, -y, -z);

function backProjected({ record, depth, image }) {
  const { width, height } = record;
  const [[fx, , cx], [, fy, cy]] = record.camera.intrinsics;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const limit = FARTHEST * Math.max(...record.subjects.map(({ box3d: { center } }) => center[2]));
  const places = [], colors = [];
  for (let at = 0; at < depth.length; at++) {
    const z = depth[at] * record.depth.meters_per_unit;
    if (!z || z > limit) continue;
    const x = ((at % width) + 0.5 - cx) / fx, y = (Math.floor(at / width) + 0.5 - cy) / fy;
    places.push(x * z, -y * z, -z);
    const color = new THREE.Color().setRGB(
      pixels[4 * at] / 255, pixels[4 * at + 1] / 255, pixels[4 * at + 2] / 255, THREE.SRGBColorSpace);
    colors.push(color.r, color.g, color.b);
  }
  const points = new THREE.BufferGeometry();
  points.setAttribute("position", new THREE.Float32BufferAttribute(places, 3));
  points.setAttribute("color", new THREE.Float32BufferAttribute(colors, 3));
  return points;
}

function lines(ends, color) {
  const geometry = new THREE.BufferGeometry().setFromPoints(ends);
  return new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color }));
}

function boxLines(corners, [r, g, b]) {
  const at = corners.map(seen);
  const ring = (face) => face.flatMap((corner, i) => [at[corner], at[face[(i + 1) % 4]]]);
  const cross = [at[FRONT[0]], at[FRONT[2]], at[FRONT[1]], at[FRONT[3]]]; // marks the front
  const sides = FRONT.flatMap((front, i) => [at[front], at[BACK[i]]]);
  return lines([...ring(FRONT), ...ring(BACK), ...sides, ...cross], new THREE.Color(`rgb(${r},${g},${b})`));
}

function frustum({ record }) {
  const [[fx, , cx], [, fy, cy]] = record.camera.intrinsics;
  const depth = 0.3;
  const corner = (u, v) => seen([((u - cx) / fx) * depth, ((v - cy) / fy) * depth, depth]);
  const { width, height } = record;
  const rim = [corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)];
  const eye = new THREE.Vector3();
  return lines(rim.flatMap((point, i) => [eye, point, point, rim[(i + 1) % 4]]), 0xffffff);
}
