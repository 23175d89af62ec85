// The scene in three dimensions: points from depth, boxes, the camera that saw it.
import * as THREE from "./vendor/three.module.min.js";
import { OrbitControls } from "./vendor/OrbitControls.js";
import { BACK, COLORS, FRONT } from "./picture.js";

const FARTHEST = 0.97; // share of the points that are shown: the rest is sky and horizon

export class Cloud {
  #renderer; #camera; #controls; #world = new THREE.Scene(); #scene;

  constructor(canvas, scene) {
    this.#scene = scene;
    this.#renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    this.#renderer.setClearColor(0x101114);
    this.#camera = new THREE.PerspectiveCamera(50, 4 / 3, 0.01, 500);
    this.#camera.up.copy(upOf(scene)); // before the controls take note of it
    this.#controls = new OrbitControls(this.#camera, canvas);
    this.#controls.addEventListener("change", () => this.#render());
    const points = backProjected(scene);
    this.#world.add(new THREE.Points(points, new THREE.PointsMaterial({ size: 2, sizeAttenuation: false, vertexColors: true })));
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
    this.#renderer.render(this.#world, this.#camera);
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
  const known = depth.filter((value) => value).sort();
  const limit = known[Math.floor(known.length * FARTHEST)] ?? 0;
  const places = [], colors = [];
  for (let at = 0; at < depth.length; at++) {
    if (!depth[at] || depth[at] > limit) continue;
    const z = depth[at] * record.depth.meters_per_unit;
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
