# SPDX-License-Identifier: Apache-2.0
from m3net_tf.audio import frontend as frontend
from m3net_tf.networks import layers as layers
from m3net_tf.networks import models as models
from m3net_tf.runtime.classifier import Classification as Classification
from m3net_tf.runtime.classifier import Classifier as Classifier
from m3net_tf.system.errors import M3NetError as M3NetError
from m3net_tf.system.keras import keras as keras
from m3net_tf.training.run import Run as Run
from m3net_tf.training.run import load as load
from m3net_tf.wake.making import make_wake_word as make_wake_word

__version__: str
