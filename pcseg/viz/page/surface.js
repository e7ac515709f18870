// WebGL: draws points as discs in their surface, then shades edges and closes pinholes.

const canvas = $("canvas"),
  stage = $("stage");
const gl = canvas.getContext("webgl2", { antialias: false, alpha: false, powerPreference: "high-performance" });
if (!gl) throw Error("This page needs WebGL 2, which this browser lacks or has disabled.");
const compile = (vertex, fragment) => {
  const program = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, "#version 300 es\nprecision highp float;precision highp int;" + source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
    const name = gl.getActiveUniform(program, i).name;
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, uniforms };
};
const points = compile(
  `
layout(location=0) in vec3 place; layout(location=1) in vec3 rgb; layout(location=2) in uint id; layout(location=3) in float gap; layout(location=4) in vec2 octant;
uniform mat4 matrix; uniform mat3 turn; uniform vec3 eye; uniform vec4 strips; uniform float step_, size, pixels, cut, biggest; uniform bool flat_; uniform int chosen; uniform highp sampler2D palette, front; uniform vec3 dim;
flat out vec4 tint; flat out uint number; flat out vec4 disc;
void main() {
vec3 p = place * step_;
gl_Position = matrix * vec4(p, 1.);
float reach = size * exp2(gap / 16. - 8.);
// Normals are folded onto an octahedron; (-128, -128) is unknown.
vec2 o = max(octant, -127.) / 127.;
vec3 normal = vec3(o, 1. - abs(o.x) - abs(o.y));
if (normal.z < 0.) normal.xy = (1. - abs(normal.yx)) * vec2(normal.x < 0. ? -1. : 1., normal.y < 0. ? -1. : 1.);
normal = turn * normalize(normal);
vec3 ray = turn * (p - eye);
float z = -ray.z, light = .98;
vec2 slope = vec2(0.);
if (octant.x > -127.5) {
  if (dot(normal, ray) > 0.) normal = -normal;
  vec3 up = turn * vec3(0., 0., 1.), lamp = normalize(vec3(-.35, .25, .75) + .5 * up);
  light = .72 + .34 * max(dot(normal, lamp), 0.);
  float side = dot(normal, ray) / z;
  slope = -normal.xy / (abs(side) < 1e-3 ? -1e-3 : side); // change of depth per step in the image plane
  slope *= min(1., 5. / max(length(slope), 1e-6));
}
disc = vec4(slope, z, reach * .5);
gl_PointSize = clamp(reach * pixels / gl_Position.w, 1.5, biggest);
disc.w = gl_PointSize / pixels * gl_Position.w * .5;
vec4 entry = texelFetch(palette, ivec2(int(id & 255u), int(id >> 8)), 0);
vec3 c = flat_ ? entry.rgb : rgb;
if (entry.a < .75) c = flat_ ? dim : mix(c, dim, .75);
bool mine = int(id) == chosen || (chosen == 0 && entry.a > .75 && entry.a < .9);
if (chosen >= 0 && !mine) c = mix(c, dim, .72);
tint = vec4(min(c * light, 1.), mine ? 1. : .5);
number = uint(gl_VertexID) + 1u;
// strips: direction toward the camera in the plan, first strip, eye along that direction.
float along = dot(p.xy, strips.xy), across = p.y * strips.x - p.x * strips.y;
float limit = texelFetch(front, ivec2(int((across - strips.z) * 5.), 0), 0).r;
if (along > limit && strips.w > limit + .05) gl_Position = vec4(2., 2., 2., 1.);
if (p.z > cut || entry.a < .25) gl_Position = vec4(2., 2., 2., 1.);
}`,
  `
flat in vec4 tint; flat in uint number; flat in vec4 disc; uniform vec2 range; layout(location=0) out vec4 shown; layout(location=1) out vec4 who;
void main() {
vec2 d = gl_PointCoord * 2. - 1.;
float off = dot(d, d);
if (off > 1.) discard;
float z = disc.z + disc.w * (dot(disc.xy, vec2(d.x, -d.y)) + .3 * off); // the disc is in its surface, with a bulge
gl_FragDepth = clamp(range.y * (z - range.x) / (z * (range.y - range.x)), 0., .9999999);
shown = tint;
who = vec4(float(number & 255u), float((number >> 8) & 255u), float((number >> 16) & 255u), float(number >> 24)) / 255.;
}`,
);
const shade = compile(
  `void main() { gl_Position = vec4(gl_VertexID == 1 ? 3. : -1., gl_VertexID == 2 ? 3. : -1., 0., 1.); }`,
  `
uniform highp sampler2D shown, depth; uniform vec2 range; uniform vec3 paper, rim; uniform float ratio; out vec4 result;
float far(ivec2 p) { float d = texelFetch(depth, p, 0).r; return d >= 1. ? -1. : 1. + log2(range.y / (range.y - d * (range.y - range.x))); }
void main() {
ivec2 p = ivec2(gl_FragCoord.xy), limit = textureSize(depth, 0) - 1;
vec4 c = texelFetch(shown, p, 0);
float here = far(p), dark = 0.;
bool edge = false;
int closer = 0;
ivec2 filler = p;
for (int k = 0; k < 4; k++) {
  vec2 way = vec2(cos(float(k) * .785398), sin(float(k) * .785398));
  for (int ring = 0; ring < 2; ring++) {
    ivec2 jump = ivec2(round(way * ratio * (ring == 0 ? 1.5 : 4.5)));
    ivec2 a = clamp(p + jump, ivec2(0), limit), b = clamp(p - jump, ivec2(0), limit);
    float da = far(a), db = far(b), most = ring == 0 ? .03 : .05, sum = 0.;
    if (ring == 0 && da > -.5 && (here < -.5 || da < here - .02)) { closer++; filler = a; }
    if (ring == 0 && db > -.5 && (here < -.5 || db < here - .02)) { closer++; filler = b; }
    // Opposite neighbors together: on a slanted plane they cancel, and it stays bright.
    if (here > -.5 && da > -.5) sum += clamp(here - da, -most, most);
    if (here > -.5 && db > -.5) sum += clamp(here - db, -most, most);
    dark += max(sum, 0.) * (ring == 0 ? 1.6 : 1.);
    if (ring == 0 && (texelFetch(shown, a, 0).a > .9 || texelFetch(shown, b, 0).a > .9)) edge = true;
  }
}
if (closer >= 7) { c = texelFetch(shown, filler, 0); dark = 0.; here = 1.; } // a pinhole in a surface
bool mine = c.a > .9;
vec3 lit = here < -.5 ? paper : c.rgb * exp(-max(dark, 0.) * 2.6);
result = vec4(edge && !mine ? rim : lit, 1.);
}`,
);
const types = new Map([
  [Int8Array, gl.BYTE],
  [Uint8Array, gl.UNSIGNED_BYTE],
  [Uint16Array, gl.UNSIGNED_SHORT],
  [Uint32Array, gl.UNSIGNED_INT],
]);
const attribute = (place, data, count, integer) => {
  const buffer = gl.createBuffer(),
    type = types.get(data.constructor);
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(place);
  if (integer) gl.vertexAttribIPointer(place, count, type, 0, 0);
  else gl.vertexAttribPointer(place, count, type, place === 1, 0, 0);
  return buffer;
};
attribute(0, position, 3);
attribute(1, color, 3);
attribute(3, spacing, 1);
attribute(4, facing, 2);
const texture = (inner, width, height, outer, type) => {
  const t = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, t);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.texImage2D(gl.TEXTURE_2D, 0, inner, width, height, 0, outer, type, null);
  return t;
};
let coarse = false; // while something moves on a slow machine
let target = null,
  idBuffer = null,
  idLayer = null;
const palette = texture(gl.RGBA8, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE);
const biggest = Math.min(gl.getParameter(gl.ALIASED_POINT_SIZE_RANGE)[1], 256);
const resize = () => {
  const ratio = Math.min(devicePixelRatio || 1, 2) * (coarse ? 0.5 : 1),
    w = Math.max(1, Math.round(stage.clientWidth * ratio)),
    h = Math.max(1, Math.round(stage.clientHeight * ratio));
  if (target && target.w === w && target.h === h) return;
  canvas.width = w;
  canvas.height = h;
  if (target) {
    [target.shown, target.who, target.depth].forEach((t) => gl.deleteTexture(t));
    gl.deleteFramebuffer(target.frame);
  }
  target = {
    w,
    h,
    ratio,
    shown: texture(gl.RGBA8, w, h, gl.RGBA, gl.UNSIGNED_BYTE),
    who: texture(gl.RGBA8, w, h, gl.RGBA, gl.UNSIGNED_BYTE),
    depth: texture(gl.DEPTH_COMPONENT24, w, h, gl.DEPTH_COMPONENT, gl.UNSIGNED_INT),
    frame: gl.createFramebuffer(),
  };
  gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target.shown, 0);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT1, gl.TEXTURE_2D, target.who, 0);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, target.depth, 0);
  gl.drawBuffers([gl.COLOR_ATTACHMENT0, gl.COLOR_ATTACHMENT1]);
  dirty = true;
};
