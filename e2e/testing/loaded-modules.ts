// Preloaded into a tskubelet (NODE_OPTIONS=--import): notes every module that it loads in the file that LOADED_MODULES names.
import fs from 'node:fs';
import module from 'node:module';

const file = process.env.LOADED_MODULES;
if (file !== undefined)
  module.registerHooks({
    load(url, context, next) {
      if (url.startsWith('file:')) fs.appendFileSync(file, `${url}\n`);
      return next(url, context);
    },
  });
