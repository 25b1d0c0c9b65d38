import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cleanPath, createLayerTree, forget, resolveDirectory } from './layer-tree.ts';

test('cleanPath takes absolute paths as relative to the layer and drops dots', () => {
  assert.deepEqual(cleanPath('/etc/./passwd'), ['etc', 'passwd']);
  assert.deepEqual(cleanPath('./'), []);
  assert.deepEqual(cleanPath('a/b/../c'), ['a', 'c']);
});

test('cleanPath refuses what climbs out', () => {
  for (const name of ['..', '../x', 'a/../../x', '/../etc/passwd', 'a/b/../../../c'])
    assert.throws(() => cleanPath(name), /leads out of the layer/);
  assert.throws(() => cleanPath('a\0b'), /NUL/);
  assert.throws(() => cleanPath('a/'.repeat(3000)), /longer than/);
});

test('resolveDirectory follows links inside the layer, as in a chroot', () => {
  const tree = createLayerTree();
  for (const dir of ['usr', 'usr/lib', 'var']) tree.directories.add(dir);
  tree.links.set('lib', 'usr/lib');
  tree.links.set('var/run', '/run');
  tree.links.set('out', '../../../usr');
  tree.links.set('loop', 'loop');
  const made: string[] = [];
  const missing = (path: string) => void made.push(path);
  assert.equal(resolveDirectory(tree, ['lib'], missing), 'usr/lib');
  assert.equal(resolveDirectory(tree, ['out', 'lib'], missing), 'usr/lib');
  assert.deepEqual(made, []);
  assert.equal(resolveDirectory(tree, ['var', 'run', 'x'], missing), 'run/x');
  assert.deepEqual(made, ['run', 'run/x']);
  assert.throws(() => resolveDirectory(tree, ['loop', 'x'], missing), /more than 40 symbolic links/);
});

test('forget drops a directory with everything below it and nothing beside it', () => {
  const tree = createLayerTree();
  for (const dir of ['a', 'a/b', 'ab']) tree.directories.add(dir);
  tree.links.set('a/b/l', 'x');
  tree.links.set('al', 'x');
  forget(tree, 'a');
  assert.deepEqual([...tree.directories], ['', 'ab']);
  assert.deepEqual([...tree.links.keys()], ['al']);
});

test('resolveDirectory only ever gives clean paths below the root', () => {
  const part = fc.constantFrom('..', '.', '', 'a', 'b', 'c');
  const link = fc.tuple(
    fc.constantFrom('a', 'b', 'a/b', 'c/a'),
    fc.array(part, { maxLength: 6 }).map((parts) => parts.join('/') || '/'),
  );
  fc.assert(
    fc.property(fc.array(link, { maxLength: 4 }), fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 6 }), (links, components) => {
      const tree = createLayerTree();
      for (const [from, to] of links) tree.links.set(from, to);
      let real: string;
      try {
        real = resolveDirectory(tree, components, () => undefined);
      } catch (error) {
        assert.match((error as Error).message, /symbolic links/);
        return;
      }
      assert.ok(real === '' || real.split('/').every((name) => /^[abc]$/.test(name)), real);
      assert.ok(!tree.links.has(real));
    }),
  );
});
