/** The numbers and switches of stage 1 as the expert panel shows them. */
import type { RecipeItem } from '../ipc/bindings/RecipeItem';
import { ids } from '../testids';
import { fieldsOf, type FieldGroup } from './settings';

const { whole, share, real, flag, choice } = fieldsOf<RecipeItem>();

export const groups: FieldGroup[] = [
  {
    label: 'recipeLength',
    fields: [
      { ...whole('numSteps', 'steps', 'steps'), min: 1, testid: ids.teachSteps },
      whole('warmupSteps', 'recipeWarmup', 'steps'),
      share('finalLrShare', 'recipeFinalRate'),
      { ...whole('sampleEvery', 'recipeSampleEvery', 'steps'), min: 1 },
      { ...whole('checkpointEvery', 'recipeCheckpointEvery', 'steps'), min: 1 },
      { ...whole('accumulate', 'recipeAccumulate', 'none'), min: 1 },
      whole('patience', 'recipePatience', 'none'),
      flag('keepBest', 'recipeKeepBest'),
    ],
  },
  {
    label: 'recipeKinds',
    fields: [
      whole('rolePlay', 'kind.rolePlay', 'none'),
      whole('thinking', 'kind.thinking', 'none'),
      whole('knowledgeQa', 'kind.knowledgeQa', 'none'),
      whole('pictureQa', 'kind.pictureQa', 'none'),
      whole('pictureDescription', 'kind.pictureDescription', 'none'),
      whole('picturePlain', 'kind.picturePlain', 'none'),
      whole('pictureScene', 'kind.pictureScene', 'none'),
      whole('pictureThinking', 'kind.pictureThinking', 'none'),
    ],
  },
  {
    label: 'recipeText',
    fields: [
      { ...whole('textTokens', 'recipeTextTokens', 'tokens'), min: 1 },
      { ...whole('textEvery', 'recipeTextEvery', 'steps'), min: 1 },
      whole('loraRank', 'recipeRank', 'none'),
      real('loraAlpha', 'recipeAlpha', 1),
      real('loraLearningRate', 'recipeTextRate', 0.0001),
      real('ceWeight', 'recipeTextWeight', 0.05),
    ],
  },
  {
    label: 'recipePictures',
    fields: [
      whole('pictures', 'recipePerStep', 'samples'),
      whole('rehearsal', 'recipeRehearsal', 'samples'),
      real('loraGenRate', 'recipePictureLowRankRate', 0.5),
      real('loraUnlikeRate', 'recipeUnlikeRate', 0.5),
      real('genLearningRate', 'recipePictureRate', 0.0001),
      real('mseWeight', 'recipePictureWeight', 0.05),
      whole('conditionRefresh', 'recipeRefresh', 'steps'),
      share('conditionDropout', 'recipeDropout'),
      { ...real('timeMean', 'recipeTimeMean', 0.1), min: -Infinity },
      real('timeStd', 'recipeTimeStd', 0.1),
    ],
  },
  {
    label: 'recipeCare',
    fields: [
      real('maxGradNorm', 'recipeGradNorm', 0.1),
      real('weightDecay', 'recipeDecay', 0.01),
      real('eps', 'recipeEps', 1e-8),
      share('emaDecay', 'recipeAverage'),
      share('heldOutShare', 'recipeHeldOut'),
    ],
  },
  {
    label: 'recipeWeights',
    fields: [
      choice('mode', 'recipeMode', { lora: 'modeLora', generation: 'modeGeneration', full: 'modeFull' }),
      choice('precision', 'recipePrecision', { f32: 'precisionF32', bf16: 'precisionBf16' }),
      choice('products', 'recipeProducts', {
        exact: 'productsExact',
        split: 'productsSplit',
        bf16: 'productsBf16',
      }),
      flag('recompute', 'recipeRecompute'),
    ],
  },
];
