/** The numbers of stage 1 as the expert panel shows them. */
import type { RecipeItem } from '../ipc/bindings/RecipeItem';
import { ids } from '../testids';
import { fieldsOf, type FieldGroup } from './numbers';

const { whole, share, real } = fieldsOf<RecipeItem>();

export const groups: FieldGroup<RecipeItem>[] = [
  {
    label: 'recipeLength',
    fields: [
      { ...whole('numSteps', 'steps', 'steps'), testid: ids.teachSteps },
      whole('warmupSteps', 'recipeWarmup', 'steps'),
      share('finalLrShare', 'recipeFinalRate'),
      whole('sampleEvery', 'recipeSampleEvery', 'steps'),
      whole('checkpointEvery', 'recipeCheckpointEvery', 'steps'),
      whole('accumulate', 'recipeAccumulate', 'none'),
      whole('patience', 'recipePatience', 'none'),
    ],
  },
  {
    label: 'recipeText',
    fields: [
      whole('textTokens', 'recipeTextTokens', 'tokens'),
      whole('textEvery', 'recipeTextEvery', 'steps'),
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
];
